package jws

import (
	"crypto"
	"crypto/elliptic"
	_ "crypto/sha256" // linked, so that what Alg.Hash names is always available
	_ "crypto/sha512"
	"strings"
)

// An Alg names a JWS signature algorithm as it stands in a header's "alg" (RFC 7518 section 3.1, RFC 8037).
// The zero value is no algorithm, and every function here refuses it.
type Alg string

// The algorithms this package knows. There is no HMAC and no "none", and no way to add one.
const (
	ES256 Alg = "ES256" // ECDSA on P-256 with SHA-256; the default choice
	ES384 Alg = "ES384" // ECDSA on P-384 with SHA-384
	ES512 Alg = "ES512" // ECDSA on P-521 with SHA-512
	RS256 Alg = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	RS384 Alg = "RS384" // ... with SHA-384
	RS512 Alg = "RS512" // ... with SHA-512
	PS256 Alg = "PS256" // RSASSA-PSS with SHA-256, MGF1 with SHA-256, a salt of 32 bytes
	PS384 Alg = "PS384" // ... with SHA-384, a salt of 48 bytes
	PS512 Alg = "PS512" // ... with SHA-512, a salt of 64 bytes
	EdDSA Alg = "EdDSA" // Ed25519, under the name of RFC 8037
)

// Algs returns every algorithm, in the order of the constants. The slice is the caller's.
func Algs() []Alg {
	return []Alg{ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA}
}

// ParseAlg returns the algorithm named s, exactly and case-sensitively. Its error has code UnknownAlg and lists
// what is allowed.
func ParseAlg(s string) (Alg, error) {
	var names []string
	for _, a := range Algs() {
		if s == string(a) {
			return a, nil
		}
		names = append(names, string(a))
	}
	return "", &Error{Code: UnknownAlg, Name: s, Offset: -1, Detail: "want one of " + strings.Join(names, ", ")}
}

// Hash returns the hash the algorithm applies to the signing input: 0 for EdDSA, which signs the input itself,
// and for what is not one of Algs.
func (a Alg) Hash() crypto.Hash {
	switch a {
	case ES256, RS256, PS256:
		return crypto.SHA256
	case ES384, RS384, PS384:
		return crypto.SHA384
	case ES512, RS512, PS512:
		return crypto.SHA512
	}
	return 0
}

// kty returns the key type (RFC 7518 section 6.1) of the algorithm's keys, "" if a is not one of Algs.
func (a Alg) kty() string {
	switch a {
	case ES256, ES384, ES512:
		return "EC"
	case RS256, RS384, RS512, PS256, PS384, PS512:
		return "RSA"
	case EdDSA:
		return "OKP"
	}
	return ""
}

// isPSS tells the two RSA families apart.
func (a Alg) isPSS() bool { return a == PS256 || a == PS384 || a == PS512 }

// curve returns the one curve an ECDSA algorithm may use (RFC 7518 section 3.4), nil for the others.
func (a Alg) curve() elliptic.Curve {
	switch a {
	case ES256:
		return elliptic.P256()
	case ES384:
		return elliptic.P384()
	case ES512:
		return elliptic.P521()
	}
	return nil
}

// crv returns the JWK name of the algorithm's curve (RFC 7518 section 6.2.1.1, RFC 8037 section 2), "" for RSA.
func (a Alg) crv() string {
	if a == EdDSA {
		return "Ed25519"
	}
	if c := a.curve(); c != nil {
		return c.Params().Name
	}
	return ""
}

// width returns the bytes of one coordinate or of one half of a signature: 32, 48 or 66 for ECDSA, 0 for the others.
func (a Alg) width() int {
	switch a {
	case ES256:
		return 32
	case ES384:
		return 48
	case ES512:
		return 66
	}
	return 0
}
