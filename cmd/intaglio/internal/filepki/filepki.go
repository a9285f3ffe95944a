// Package filepki is a small certificate authority in a directory, for those who have none and want to try things out.
//
// Use [Open] to make or read the authority, [CA.Ensure] to have a certificate under it, as often as you like: what is
// still good is kept, what is about to expire is made anew. Keys are ECDSA P-256 in files of mode 0600.
package filepki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"intaglio.example/cmd/intaglio/internal/durable"
	"intaglio.example/internal/secret"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// renewal is how long before its end a certificate is made anew: longer than anybody leaves a server running unattended
	// while trying it out.
	renewal = leafLife / 3
	// backdating allows for the clock of whoever checks.
	backdating = 5 * time.Minute
)

// A CA signs certificates in one directory. Not for concurrent use.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	now  time.Time
}

// Leaf is what a certificate says of its owner. A server's is for DNS names and addresses, a client's for one URI.
type Leaf struct {
	Server bool
	URIs   []string
	DNS    []string
	IPs    []net.IP
}

// Open reads the authority in dir, ca.pem and ca-key.pem, and makes it when there is none or when it is about to expire. Certificates of
// an authority that was replaced are made anew by [CA.Ensure].
func Open(dir string, now time.Time) (*CA, error) {
	ca := &CA{dir: dir, now: now}
	pair, err := ca.load("ca")
	if err == nil && pair.Leaf.IsCA && pair.Leaf.NotAfter.Sub(now) > leafLife {
		ca.cert, ca.key = pair.Leaf, pair.PrivateKey.(crypto.Signer)
		return ca, nil
	}
	if err != nil && !errors.Is(err, errUnusable) {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Intaglio trial authority"},
		NotBefore:             now.Add(-backdating),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	return ca, ca.issue("ca", template)
}

// Ensure has a certificate for leaf in dir as NAME.pem, with its key in NAME-key.pem. It keeps one that says the same, is of this
// authority, and is good for a month.
func (ca *CA) Ensure(name string, leaf Leaf) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotBefore:   ca.now.Add(-backdating),
		NotAfter:    ca.now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames:    leaf.DNS,
		IPAddresses: leaf.IPs,
	}
	if leaf.Server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, text := range leaf.URIs {
		u, err := url.Parse(text)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", name, err)
		}
		template.URIs = append(template.URIs, u)
	}
	pair, err := ca.load(name)
	if err == nil && ca.good(pair.Leaf, template) {
		return nil
	}
	if err != nil && !errors.Is(err, errUnusable) {
		return err
	}
	return ca.issue(name, template)
}

// good reports whether cert says what is wanted, is of this authority, and stays good for a while.
func (ca *CA) good(cert, want *x509.Certificate) bool {
	sameIP := func(a, b net.IP) bool { return a.Equal(b) }
	sameURI := func(a, b *url.URL) bool { return a.String() == b.String() }
	return cert.CheckSignatureFrom(ca.cert) == nil &&
		cert.NotAfter.Sub(ca.now) > renewal && !ca.now.Before(cert.NotBefore) &&
		slices.Equal(cert.ExtKeyUsage, want.ExtKeyUsage) &&
		slices.Equal(cert.DNSNames, want.DNSNames) &&
		slices.EqualFunc(cert.IPAddresses, want.IPAddresses, sameIP) &&
		slices.EqualFunc(cert.URIs, want.URIs, sameURI)
}

// errUnusable: there is no certificate, or half of one, as a crash between two files leaves it.
var errUnusable = errors.New("no usable certificate")

func (ca *CA) load(name string) (tls.Certificate, error) {
	pair, err := LoadPair(ca.certPath(name), ca.keyPath(name))
	if err != nil && !errors.Is(err, secret.ErrExposed) && !errors.Is(err, fs.ErrPermission) {
		return pair, fmt.Errorf("%w: %w", errUnusable, err)
	}
	return pair, err
}

func (ca *CA) certPath(name string) string { return filepath.Join(ca.dir, name+".pem") }
func (ca *CA) keyPath(name string) string  { return filepath.Join(ca.dir, name+"-key.pem") }

// issue makes a key and a certificate under the authority, or under itself when there is no authority yet. First the key,
// then the certificate is put in place: what a crash leaves does not fit together, and is made again.
func (ca *CA) issue(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("issuing certificate %s: %w", name, err)
	}
	if err := ca.put(name, key, der); err != nil {
		return fmt.Errorf("writing certificate %s: %w", name, err)
	}
	if ca.cert == nil {
		ca.key = key
		ca.cert, err = x509.ParseCertificate(der)
	}
	return err
}

func (ca *CA) put(name string, key *ecdsa.PrivateKey, der []byte) error {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := secret.New(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	defer text.Erase()
	clear(pkcs8)
	fresh := ca.keyPath(name) + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := secret.WriteFile(fresh, text); err != nil {
		return err
	}
	if err := durable.Rename(fresh, ca.keyPath(name)); err != nil {
		return err
	}
	return durable.Write(ca.certPath(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
