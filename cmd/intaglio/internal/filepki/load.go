package filepki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"intaglio.example/internal/secret"
)

// LoadPair reads a certificate and its private key, both in PEM. The key's file must be its owner's alone
// ([secret.ErrExposed]); a symbolic link to it is followed, because that is how orchestrators hand files in.
func LoadPair(certPath, keyPath string) (tls.Certificate, error) {
	cert, err := os.ReadFile(certPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	resolved, err := filepath.EvalSymlinks(keyPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := secret.ReadFile(resolved)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer key.Erase()
	pair, err := tls.X509KeyPair(cert, key.Reveal())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s with %s: %w", certPath, keyPath, err)
	}
	return pair, nil
}

// LoadPool reads the certificates, in PEM, of authorities to trust.
func LoadPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}
