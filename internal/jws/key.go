package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
)

// A PublicKey is one public key bound to one algorithm. It is checked when it is made, never changes, and may be used
// concurrently. Its zero value is no key: only the functions of this package make one.
type PublicKey struct {
	alg  Alg
	key  crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey, shared with nobody
	kid  string
	pkix []byte
	jwk  []byte
}

// NewPublicKey binds key to alg. It accepts an *[ecdsa.PublicKey] on the curve of alg, an *[rsa.PublicKey] of 2048 to
// 16384 bits whose exponent is odd and at least 3, and an [ed25519.PublicKey]; each must be a point of its curve, or a modulus
// that could be one. The key is copied. The error is an [*Error], of code BadKey or UnknownAlg.
func NewPublicKey(alg Alg, key crypto.PublicKey) (*PublicKey, error) {
	if err := checkShape(key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, badKey("%v", err)
	}
	return ParsePKIX(alg, der)
}

// ParsePKIX reads a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7, RFC 8410) in DER and binds it to alg, by the rules
// of [NewPublicKey]. Only the one encoding [PublicKey.PKIX] gives is accepted.
func ParsePKIX(alg Alg, der []byte) (*PublicKey, error) {
	if _, err := ParseAlg(string(alg)); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(bytes.Clone(der)) // an Ed25519 key aliases it
	if err != nil {
		return nil, badKey("%v", err)
	}
	if err := checkKey(alg, key); err != nil {
		return nil, err
	}
	canonical, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, badKey("%v", err)
	}
	if !bytes.Equal(canonical, der) {
		return nil, &Error{Code: NonCanonical, Part: "PKIX", Offset: -1}
	}
	k := &PublicKey{alg: alg, key: key, pkix: canonical}
	k.describe()
	return k, nil
}

// Alg returns the algorithm the key is bound to.
func (k *PublicKey) Alg() Alg { return k.alg }

// Kid returns the key's RFC 7638 thumbprint with SHA-256, base64url: 43 characters. It names the key alone, not its
// algorithm: one key under two algorithms has one kid, so whoever publishes keys must not do that.
func (k *PublicKey) Kid() string { return k.kid }

// PKIX returns a copy of the key as a SubjectPublicKeyInfo in DER.
func (k *PublicKey) PKIX() []byte { return bytes.Clone(k.pkix) }

// JWK returns a copy of the key as a JSON Web Key: kty, kid, alg, use "sig" and the public members of
// its type, in an order that never changes, without white space.
func (k *PublicKey) JWK() []byte { return bytes.Clone(k.jwk) }

// Crypto returns a copy of the key as crypto/* has it: an *[ecdsa.PublicKey], an *[rsa.PublicKey] or an [ed25519.PublicKey].
func (k *PublicKey) Crypto() crypto.PublicKey {
	key, err := x509.ParsePKIXPublicKey(k.PKIX())
	if err != nil {
		return nil // cannot be: these bytes were made from a parsed key
	}
	return key
}

// Equal reports whether both are the same key with the same algorithm. A nil key equals none.
func (k *PublicKey) Equal(x *PublicKey) bool {
	return k != nil && x != nil && k.alg == x.alg && bytes.Equal(k.pkix, x.pkix)
}

// String returns the algorithm and the kid.
func (k *PublicKey) String() string { return string(k.alg) + " " + k.kid }

// SignatureSize returns the length of the key's signatures in bytes. Every signature has exactly this length.
func (k *PublicKey) SignatureSize() int {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		return 2 * k.alg.width()
	case *rsa.PublicKey:
		return key.Size()
	case ed25519.PublicKey:
		return ed25519.SignatureSize
	}
	return 0
}

// Verify checks sig, in the form RFC 7518 gives it, against the bytes that were signed. The length is looked at
// first; a PSS salt must be as long as the hash. It says nothing about what the bytes mean: a token is
// checked with [Unverified.Verify]. The error is an [*Error] with code BadSignature.
func (k *PublicKey) Verify(input, sig []byte) error {
	if size := k.SignatureSize(); size == 0 || len(sig) != size {
		return &Error{Code: BadSignature, Offset: -1, Detail: fmt.Sprintf("%d bytes, want %d", len(sig), size)}
	}
	if !k.verifies(input, sig) {
		return &Error{Code: BadSignature, Offset: -1}
	}
	return nil
}

// verifies does the mathematics of Verify.
func (k *PublicKey) verifies(input, sig []byte) bool {
	if key, ok := k.key.(ed25519.PublicKey); ok {
		return ed25519.Verify(key, input, sig)
	}
	var room [sha512.Size]byte
	digest := k.alg.appendDigest(room[:0], input)
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		var der [maxDER]byte
		return ecdsa.VerifyASN1(key, digest, appendDER(der[:0], sig))
	case *rsa.PublicKey:
		hash := k.alg.Hash()
		if k.alg.isPSS() {
			return rsa.VerifyPSS(key, hash, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, hash, digest, sig) == nil
	}
	return false
}

// appendDigest appends the hash of input under a. crypto.Hash.New would allocate.
func (a Alg) appendDigest(dst, input []byte) []byte {
	switch a.Hash() {
	case crypto.SHA256:
		d := sha256.Sum256(input)
		return append(dst, d[:]...)
	case crypto.SHA384:
		d := sha512.Sum384(input)
		return append(dst, d[:]...)
	case crypto.SHA512:
		d := sha512.Sum512(input)
		return append(dst, d[:]...)
	}
	return dst
}
