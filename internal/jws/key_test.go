package jws

//lint:file-ignore SA1019 keys that crypto/ecdsa would not make have to be made by hand

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func TestAlgs(t *testing.T) {
	for _, a := range Algs() {
		if got, err := ParseAlg(string(a)); got != a || err != nil {
			t.Errorf("ParseAlg(%s) = %s, %v", a, got, err)
		}
		if a.kty() == "" || a.Hash() == 0 != (a == EdDSA) || a.Hash() != 0 && !a.Hash().Available() {
			t.Errorf("%s is half known", a)
		}
		if len(sign(t, a, []byte("x"))) != publicKey(t, a).SignatureSize() {
			t.Errorf("%s: wrong signature size", a)
		}
	}
	for _, s := range []string{"", "none", "None", "NONE", "HS256", "es256", "ES256 ", "ES521", "ES256K", "Ed25519", "eddsa", "ML-DSA-44", "ES256\x00"} {
		a, err := ParseAlg(s)
		if codeOf(t, err) != UnknownAlg || a != "" || !strings.Contains(err.Error(), "ES256, ES384") {
			t.Errorf("ParseAlg(%q) = %q, %v, want a refusal that lists the algorithms", s, a, err)
		}
		if Alg(s).Hash() != 0 || Alg(s).kty() != "" {
			t.Errorf("%q has a hash or a kty", s)
		}
	}
	Algs()[0] = "none"
	if Algs()[0] != ES256 {
		t.Error("Algs can be written to")
	}
}

func TestVerify(t *testing.T) {
	input := []byte("a signing input")
	for _, a := range Algs() {
		k, sig := publicKey(t, a), sign(t, a, input)
		if err := k.Verify(input, sig); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		bad := map[string][]byte{"empty": {}, "nil": nil, "short": sig[1:], "cut": sig[:len(sig)-1], "zeros": make([]byte, len(sig)),
			"longer": append(bytes.Clone(sig), 0), "zero first": append([]byte{0}, sig...), "ones": bytes.Repeat([]byte{0xff}, len(sig)), "twice": append(bytes.Clone(sig), sig...)}
		half := len(sig) / 2
		bad["halves widened"] = slices.Concat([]byte{0}, sig[:half], []byte{0}, sig[half:])
		for _, at := range []int{0, half, len(sig) - 1} {
			flipped := bytes.Clone(sig)
			flipped[at] ^= 1
			bad[fmt.Sprintf("bit flipped in %d", at)] = flipped
		}
		for name, sig := range bad {
			if err := k.Verify(input, sig); codeOf(t, err) != BadSignature {
				t.Errorf("%s, %s: %v", a, name, err)
			}
		}
		if err := k.Verify([]byte("a signing inpuT"), sig); codeOf(t, err) != BadSignature {
			t.Errorf("%s: another input: %v", a, err)
		}
		for _, b := range Algs() {
			if other := publicKey(t, b); a != b && other.Verify(input, sig) == nil {
				t.Errorf("a signature of %s passes as %s", a, b)
			}
		}
	}
	if err := new(PublicKey).Verify(input, nil); codeOf(t, err) != BadSignature {
		t.Errorf("the zero key verifies: %v", err)
	}
}

// TestVerifyPSSSalt: RFC 7518 section 3.5 fixes the salt to the length of the hash; others verify fine elsewhere.
func TestVerifyPSSSalt(t *testing.T) {
	input := []byte("a signing input")
	for _, a := range []Alg{PS256, PS384, PS512} {
		for _, salt := range []int{1, 20, a.Hash().Size() - 1, a.Hash().Size() + 1, 128} {
			sig := rawSign(t, a, input, &rsa.PSSOptions{SaltLength: salt, Hash: a.Hash()})
			if rsa.VerifyPSS(signer(t, a).Public().(*rsa.PublicKey), a.Hash(), a.appendDigest(nil, input), sig, nil) != nil {
				t.Fatalf("%s: the signature with a salt of %d is not even good elsewhere", a, salt)
			}
			if err := publicKey(t, a).Verify(input, sig); codeOf(t, err) != BadSignature {
				t.Errorf("%s: a salt of %d is accepted: %v", a, salt, err)
			}
		}
	}
}

func TestNewPublicKeyRefuses(t *testing.T) {
	ec := signer(t, ES256).Public().(*ecdsa.PublicKey)
	rs := signer(t, RS256).Public().(*rsa.PublicKey)
	ed := signer(t, EdDSA).Public().(ed25519.PublicKey)
	x25519, err := ecdh.X25519().NewPublicKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.ParseRawPrivateKey(elliptic.P224(), bytes.Repeat([]byte{1}, 28))
	if err != nil {
		t.Fatal(err)
	}
	n := func(bits uint, low int64) *big.Int { // a modulus of exactly so many bits
		v := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return v.Add(v, big.NewInt(low))
	}
	cases := []struct {
		name string
		alg  Alg
		key  crypto.PublicKey
		want Code
	}{
		{"no algorithm", "", ec, UnknownAlg},
		{"none", "none", ec, UnknownAlg},
		{"HMAC", "HS256", ec, UnknownAlg},
		{"nil", ES256, nil, BadKey},
		{"nil ECDSA", ES256, (*ecdsa.PublicKey)(nil), BadKey},
		{"nil RSA", RS256, (*rsa.PublicKey)(nil), BadKey},
		{"empty ECDSA", ES256, &ecdsa.PublicKey{}, BadKey},
		{"ECDSA without a point", ES256, &ecdsa.PublicKey{Curve: elliptic.P256()}, BadKey},
		{"empty RSA", RS256, &rsa.PublicKey{}, BadKey},
		{"negative modulus", RS256, &rsa.PublicKey{N: new(big.Int).Neg(rs.N), E: 65537}, BadKey},
		{"bytes", ES256, []byte("secret"), BadKey},
		{"private ECDSA", ES256, signer(t, ES256), BadKey},
		{"private RSA", RS256, signer(t, RS256), BadKey},
		{"private Ed25519", EdDSA, signer(t, EdDSA), BadKey},
		{"ECDSA by value", ES256, *ec, BadKey},
		{"X25519", EdDSA, x25519, BadKey},
		{"P-224", ES256, &p224.PublicKey, BadKey},
		{"P-256 for ES384", ES384, ec, BadKey},
		{"P-521 for ES256", ES256, signer(t, ES512).Public(), BadKey},
		{"P-256 for RS256", RS256, ec, BadKey},
		{"P-256 for EdDSA", EdDSA, ec, BadKey},
		{"RSA for ES256", ES256, rs, BadKey},
		{"Ed25519 for ES256", ES256, ed, BadKey},
		{"Ed25519 for PS256", PS256, ed, BadKey},
		{"not on the curve", ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: ec.X, Y: new(big.Int).Add(ec.Y, big.NewInt(1))}, BadKey},
		{"the origin", ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}, BadKey},
		{"coordinate over p", ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).Add(ec.X, elliptic.P256().Params().P), Y: ec.Y}, BadKey},
		{"negative coordinate", ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: ec.X, Y: new(big.Int).Neg(ec.Y)}, BadKey},
		{"2047 bits", RS256, &rsa.PublicKey{N: n(2047, 1), E: 65537}, BadKey},
		{"1024 bits", PS256, &rsa.PublicKey{N: n(1024, 1), E: 65537}, BadKey},
		{"16385 bits", RS256, &rsa.PublicKey{N: n(16385, 1), E: 65537}, BadKey},
		{"even modulus", RS256, &rsa.PublicKey{N: n(2048, 2), E: 65537}, BadKey},
		{"exponent 0", RS256, &rsa.PublicKey{N: rs.N, E: 0}, BadKey},
		{"exponent 1", RS256, &rsa.PublicKey{N: rs.N, E: 1}, BadKey},
		{"exponent 2", RS256, &rsa.PublicKey{N: rs.N, E: 2}, BadKey},
		{"even exponent", RS256, &rsa.PublicKey{N: rs.N, E: 65538}, BadKey},
		{"negative exponent", RS256, &rsa.PublicKey{N: rs.N, E: -3}, BadKey},
		{"exponent over 31 bits", RS256, &rsa.PublicKey{N: rs.N, E: 1<<31 + 1}, BadKey},
		{"ROCA", RS256, &rsa.PublicKey{N: rocaModulus(), E: 65537}, BadKey},
		{"short Ed25519", EdDSA, ed[:31], BadKey},
		{"long Ed25519", EdDSA, append(bytes.Clone(ed), 0), BadKey},
		{"not on Ed25519", EdDSA, ed25519.PublicKey(append([]byte{2}, make([]byte, 31)...)), BadKey},
		{"y over p", EdDSA, ed25519.PublicKey(append([]byte{0xee}, append(bytes.Repeat([]byte{0xff}, 30), 0x7f)...)), BadKey},
	}
	for _, c := range cases {
		if k, err := NewPublicKey(c.alg, c.key); codeOf(t, err) != c.want || k != nil {
			t.Errorf("%s: %v %v, want %s", c.name, k, err, c.want)
		}
	}
	for _, e := range []int{3, 65537, 1<<31 - 1} {
		if _, err := NewPublicKey(RS256, &rsa.PublicKey{N: rs.N, E: e}); err != nil {
			t.Errorf("exponent %d: %v", e, err)
		}
	}
}

// rocaModulus has the form of CVE-2017-15361: a power of 65537 modulo every small prime.
func rocaModulus() *big.Int {
	m := big.NewInt(1)
	for p := int64(2); p <= 167; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)
	k := new(big.Int).Lsh(big.NewInt(1), 2047)
	k.Add(k.Div(k, m), big.NewInt(1))
	return n.Add(n, k.Mul(k, m))
}

// TestOnEdwards25519: real keys are points; of 1000 hashes about half are, 477 by the field arithmetic of another language.
func TestOnEdwards25519(t *testing.T) {
	for i := range byte(64) {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{i}, 32)).Public().(ed25519.PublicKey)
		if !onEdwards25519(key) {
			t.Errorf("%x is a real key", key)
		}
	}
	on := 0
	for i := range 1000 {
		sum := sha256.Sum256(fmt.Appendf(nil, "y %d", i))
		if onEdwards25519(sum[:]) {
			on++
		}
	}
	if on != 477 {
		t.Errorf("%d of 1000 hashes are points, want 477", on)
	}
}

func TestThumbprintVectors(t *testing.T) {
	for _, c := range []struct{ name, jwk, kid string }{
		{"RFC 7638 section 3.1", `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"RFC 8037 appendix A.3", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"}`,
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		k, err := ParseJWK([]byte(c.jwk))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if k.Kid() != c.kid {
			t.Errorf("%s: %s, want %s", c.name, k.Kid(), c.kid)
		}
	}
}

// TestThumbprintEC writes the hash input by hand, with a P-521 key whose coordinates begin with zero bits.
func TestThumbprintEC(t *testing.T) {
	for _, a := range []Alg{ES256, ES384, ES512} {
		key, w := signer(t, a).Public().(*ecdsa.PublicKey), a.width()
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"crv":"P-%d","kty":"EC","x":"%s","y":"%s"}`, key.Params().BitSize,
			b64.EncodeToString(point[1:w+1]), b64.EncodeToString(point[w+1:]))
		sum := sha256.Sum256([]byte(text))
		if got, want := publicKey(t, a).Kid(), b64.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: %s, want %s of %s", a, got, want, text)
		}
	}
}

// TestEdDSAVector is the JWS of RFC 8037 appendix A.4.
func TestEdDSAVector(t *testing.T) {
	k, err := ParseJWK([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCompact("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Verify(c.SigningInput, c.Signature); err != nil || string(c.Payload) != "Example of Ed25519 signing" {
		t.Errorf("%v, payload %q", err, c.Payload)
	}
}

func TestPublicKeyNeverChanges(t *testing.T) {
	for _, a := range Algs() {
		k := publicKey(t, a)
		kid, jwk, pkix := k.Kid(), string(k.JWK()), string(k.PKIX())
		clear(k.JWK())
		clear(k.PKIX())
		switch key := k.Crypto().(type) {
		case *ecdsa.PublicKey:
			key.X.SetInt64(1)
		case *rsa.PublicKey:
			key.N.SetInt64(1)
			key.E = 1
		case ed25519.PublicKey:
			clear(key)
		}
		if k.Kid() != kid || string(k.JWK()) != jwk || string(k.PKIX()) != pkix || k.Verify([]byte("x"), sign(t, a, []byte("x"))) != nil {
			t.Errorf("%s: what the key gave out was not a copy", a)
		}
	}
	key := *signer(t, ES256).Public().(*ecdsa.PublicKey)
	key.X, key.Y = new(big.Int).Set(key.X), new(big.Int).Set(key.Y)
	k, err := NewPublicKey(ES256, &key)
	if err != nil {
		t.Fatal(err)
	}
	key.X.SetInt64(1)
	if err := k.Verify([]byte("x"), sign(t, ES256, []byte("x"))); err != nil {
		t.Errorf("the key taken in was not copied: %v", err)
	}
	der := publicKey(t, EdDSA).PKIX()
	k, err = ParsePKIX(EdDSA, der)
	if err != nil {
		t.Fatal(err)
	}
	clear(der)
	if err := k.Verify([]byte("x"), sign(t, EdDSA, []byte("x"))); err != nil {
		t.Errorf("the DER taken in was not copied: %v", err)
	}
}

func TestPKIX(t *testing.T) {
	for _, a := range Algs() {
		k := publicKey(t, a)
		want, err := x509.MarshalPKIXPublicKey(signer(t, a).Public())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.PKIX(), want) {
			t.Errorf("%s: PKIX differs from crypto/x509's", a)
		}
		back, err := ParsePKIX(a, k.PKIX())
		if err != nil || !back.Equal(k) {
			t.Errorf("%s: does not come back: %v", a, err)
		}
		for name, der := range map[string][]byte{"empty": nil, "cut": want[:len(want)-1], "trailing": append(bytes.Clone(want), 0),
			"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: want})} {
			if _, err := ParsePKIX(a, der); codeOf(t, err) != BadKey && codeOf(t, err) != NonCanonical {
				t.Errorf("%s, %s: %v", a, name, err)
			}
		}
		for _, b := range Algs() {
			if _, err := ParsePKIX(b, want); (err == nil) != (b.kty() == a.kty() && b.curve() == a.curve()) {
				t.Errorf("a key of %s as one of %s: %v", a, b, err)
			}
		}
	}
	if _, err := ParsePKIX("", publicKey(t, ES256).PKIX()); codeOf(t, err) != UnknownAlg {
		t.Errorf("without an algorithm: %v", err)
	}
}

// TestPKIXHasOneSpelling takes away the five zero bits a point begins with. crypto/x509 puts them back.
func TestPKIXHasOneSpelling(t *testing.T) {
	der := publicKey(t, ES256).PKIX()
	at := len(der) - 66 // the BIT STRING: a count of unused bits, then the point
	point := new(big.Int).SetBytes(der[at+1:])
	other := append(bytes.Clone(der[:at]), 5)
	other = append(other, point.Lsh(point, 5).Bytes()...)
	if key, err := x509.ParsePKIXPublicKey(other); err != nil || !signer(t, ES256).Public().(*ecdsa.PublicKey).Equal(key) {
		t.Fatalf("crypto/x509 has become strict: %v", err)
	}
	if _, err := ParsePKIX(ES256, other); codeOf(t, err) != NonCanonical {
		t.Errorf("a second spelling of the key is accepted: %v", err)
	}
}

func TestEqual(t *testing.T) {
	a, b := publicKey(t, RS256), publicKey(t, PS256)
	if !a.Equal(publicKey(t, RS256)) || a.Equal(publicKey(t, ES256)) || a.Equal(nil) || (*PublicKey)(nil).Equal(a) || (*PublicKey)(nil).Equal(nil) {
		t.Error("Equal does not compare keys")
	}
	if a.Equal(b) {
		t.Error("one RSA key under two algorithms is two keys")
	}
	if a.Kid() != b.Kid() {
		t.Error("the thumbprint is of the key alone")
	}
}

func TestSignatureSize(t *testing.T) {
	for a, want := range map[Alg]int{ES256: 64, ES384: 96, ES512: 132, RS256: 256, PS512: 256, EdDSA: 64} {
		if got := publicKey(t, a).SignatureSize(); got != want {
			t.Errorf("%s: %d, want %d", a, got, want)
		}
	}
}
