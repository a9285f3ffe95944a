package software

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
)

// rsaBits is the size of RSA keys: 128 bits of security, and what keys may have beyond 2030 (NIST SP 800-57 part 1, table 4).
const rsaBits = 3072

// A pair is a key pair that can sign. The private key is held by a closure and nowhere else: fmt prints a function as
// an address, encoders refuse it, and no method gives it away. It prints as "[secret]".
type pair struct {
	unprintable
	public *jws.PublicKey
	sign   func(input []byte) ([]byte, error)
}

// generate draws a key for alg. It returns early when ctx is done; an RSA key that was begun is then finished in the
// background, in well under a minute, and thrown away.
func generate(ctx context.Context, alg jws.Alg) (crypto.Signer, error) {
	switch alg {
	case jws.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jws.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jws.ES512:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jws.EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case jws.RS256, jws.RS384, jws.RS512, jws.PS256, jws.PS384, jws.PS512:
	default:
		return nil, fmt.Errorf("%w: %q", backends.ErrUnsupported, alg)
	}
	type result struct {
		key *rsa.PrivateKey
		err error
	}
	done := make(chan result, 1)
	go func() {
		key, err := rsa.GenerateKey(rand.Reader, rsaBits)
		done <- result{key, err}
	}()
	select {
	case r := <-done:
		return r.key, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// newPair reads a private key (PKCS#8 in DER) and proves that it is the other half of the public key pkix, by a signature
// for alg. RSA keys come out of x509 with their CRT values precomputed.
func newPair(alg jws.Alg, pkix, pkcs8 []byte) (*pair, error) {
	public, err := jws.ParsePKIX(alg, pkix)
	if err != nil {
		return nil, fmt.Errorf("%w: its public key: %w", ErrDamaged, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("%w: its private key cannot be read", ErrDamaged) // the cause might quote it
	}
	p := &pair{public: public}
	switch key := private.(type) {
	case *ecdsa.PrivateKey:
		p.sign = signECDSA(key, alg)
	case *rsa.PrivateKey:
		p.sign = signRSA(key, alg)
	case ed25519.PrivateKey:
		p.sign = signEd25519(key)
	default:
		return nil, fmt.Errorf("%w: its private key is a %T", ErrDamaged, private)
	}
	if err := p.prove(); err != nil {
		return nil, err
	}
	return p, nil
}

// prove signs and verifies once.
func (p *pair) prove() error {
	input := []byte("intaglio proves that this key signs") // not a JWS signing input: it has no dot
	sig, err := p.sign(input)
	if err == nil {
		err = p.public.Verify(input, sig)
	}
	if err != nil {
		return fmt.Errorf("%w: its halves do not fit: %w", ErrDamaged, err)
	}
	return nil
}

// signECDSA signs deterministically (RFC 6979), as RFC 8725 section 3.2 advises: a signature then needs no fresh
// randomness, and here it takes a fifth less time than the hedged kind of crypto/ecdsa, which draws its nonce through SHA-512.
func signECDSA(key *ecdsa.PrivateKey, alg jws.Alg) func([]byte) ([]byte, error) {
	hash := alg.Hash()
	return func(input []byte) ([]byte, error) {
		der, err := key.Sign(nil, digest(hash, input), hash)
		if err != nil {
			return nil, err
		}
		return jws.SignatureFromDER(alg, der)
	}
}

// signRSA signs by PKCS #1 v1.5 or by PSS with a salt as long as the hash (RFC 7518 sections 3.3 and 3.5). crypto/rsa checks its own
// result before it returns it, so a fault in one half of the CRT does not give the key away.
func signRSA(key *rsa.PrivateKey, alg jws.Alg) func([]byte) ([]byte, error) {
	hash := alg.Hash()
	switch alg {
	case jws.PS256, jws.PS384, jws.PS512:
		options := rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		return func(input []byte) ([]byte, error) {
			return rsa.SignPSS(rand.Reader, key, hash, digest(hash, input), &options)
		}
	}
	return func(input []byte) ([]byte, error) {
		return rsa.SignPKCS1v15(nil, key, hash, digest(hash, input))
	}
}

// signEd25519 signs the input itself (RFC 8037 section 3.1).
func signEd25519(key ed25519.PrivateKey) func([]byte) ([]byte, error) {
	return func(input []byte) ([]byte, error) { return ed25519.Sign(key, input), nil }
}

// digest hashes input by one of the three hashes of JWS.
func digest(hash crypto.Hash, input []byte) []byte {
	switch hash {
	case crypto.SHA384:
		d := sha512.Sum384(input)
		return d[:]
	case crypto.SHA512:
		d := sha512.Sum512(input)
		return d[:]
	}
	d := sha256.Sum256(input)
	return d[:]
}
