package jws

import (
	"crypto"
	_ "crypto/sha256" // linked, so that Alg.Hash is always available
	_ "crypto/sha512"
	"fmt"
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
	RS384 Alg = "RS384"
	RS512 Alg = "RS512"
	PS256 Alg = "PS256" // RSASSA-PSS with SHA-256, MGF1 with SHA-256, salt of 32 bytes
	PS384 Alg = "PS384"
	PS512 Alg = "PS512"
	EdDSA Alg = "EdDSA" // Ed25519 only
)

// Algs returns every algorithm, in the order of the constants. The slice is the caller's.
func Algs() []Alg {
	return []Alg{ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA}
}

// ParseAlg returns the algorithm named s, exactly and case-sensitively. Its error lists what is allowed.
func ParseAlg(s string) (Alg, error) {
	for _, a := range Algs() {
		if s == string(a) {
			return a, nil
		}
	}
	var names []string
	for _, a := range Algs() {
		names = append(names, string(a))
	}
	return "", &Error{Code: UnknownAlg, Offset: -1, Name: s, Detail: fmt.Sprintf("want one of %s", strings.Join(names, ", "))}
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
