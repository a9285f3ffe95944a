package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A jwk is a public key as any library would read it from a JWK Set.
type jwk struct{ Kty, Kid, Alg, Use, Crv, X, Y, N, E string }

// jwks fetches the JWK Set of demo, as a relying party does.
func (w *world) jwks(t testing.TB) []jwk {
	t.Helper()
	rec := httptest.NewRecorder()
	w.server.HTTP().ServeHTTP(rec, httptest.NewRequest("GET", "/demo/jwks.json", nil))
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(rec.Body.Bytes(), &set); rec.Code != 200 || err != nil {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return set.Keys
}

// verifyWithGo verifies a token by Go's own crypto alone, with the key that its kid names, and returns its header.
func verifyWithGo(t testing.TB, set []jwk, token string) map[string]string {
	t.Helper()
	parts := strings.Split(token, ".")
	var header map[string]string
	no(t, json.Unmarshal(b64(t, parts[0]), &header))
	for _, k := range set {
		if k.Kid != header["kid"] {
			continue
		}
		is(t, "alg of the key", k.Alg, header["alg"])
		is(t, "use of the key", k.Use, "sig")
		is(t, "kid, as RFC 7638 has it", k.Kid, thumbprint(k))
		if !verifies(t, k, []byte(parts[0]+"."+parts[1]), b64(t, parts[2])) {
			t.Fatalf("the signature does not verify: %s", token)
		}
		return header
	}
	t.Fatalf("no key %q in the JWK Set", header["kid"])
	return nil
}

func verifies(t testing.TB, k jwk, input, sig []byte) bool {
	hashes := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	hash := hashes[k.Alg[2:]]
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	num := func(s string) *big.Int { return new(big.Int).SetBytes(b64(t, s)) }
	switch k.Alg[:2] {
	case "Ed":
		return ed25519.Verify(b64(t, k.X), input, sig)
	case "ES":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
		half := (curve.Params().BitSize + 7) / 8
		pub, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, b64(t, k.X), b64(t, k.Y)))
		no(t, err)
		return len(sig) == 2*half && ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:]))
	case "RS":
		return rsa.VerifyPKCS1v15(&rsa.PublicKey{N: num(k.N), E: int(num(k.E).Int64())}, hash, digest, sig) == nil
	case "PS":
		return rsa.VerifyPSS(&rsa.PublicKey{N: num(k.N), E: int(num(k.E).Int64())}, hash, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return false
}

// thumbprint is RFC 7638, section 3, by hand.
func thumbprint(k jwk) string {
	text := map[string]string{
		"EC":  `{"crv":"` + k.Crv + `","kty":"EC","x":"` + k.X + `","y":"` + k.Y + `"}`,
		"OKP": `{"crv":"` + k.Crv + `","kty":"OKP","x":"` + k.X + `"}`,
		"RSA": `{"e":"` + k.E + `","kty":"RSA","n":"` + k.N + `"}`,
	}[k.Kty]
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func b64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	no(t, err)
	return b
}
