package jws

import (
	"bytes"
	"testing"
)

// claims300 is a usual payload: 300 bytes, ten claims, one of them nested.
var claims300 = []byte(`{"iss":"https://issuer.example/payments","sub":"spiffe://example.org/ns/prod/sa/checkout","aud":["billing","ledger"],` +
	`"exp":1700000300,"nbf":1700000000,"iat":1700000000,"jti":"0f8fad5bd9cb469fa16570867728950e","scope":"read write","amr":["mtls","hwk"],` +
	`"cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9"}}`)

func BenchmarkParseObject(b *testing.B) {
	b.SetBytes(int64(len(claims300)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseObject(claims300, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendSigningInput(b *testing.B) {
	kid := publicKey(b, ES256).Kid()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendSigningInput(dst, ES256, kid, "at+jwt", claims300)
	}
}

func benchmarkVerify(b *testing.B, alg Alg) {
	input := AppendSigningInput(nil, alg, publicKey(b, alg).Kid(), "at+jwt", claims300)
	key, sig := publicKey(b, alg), sign(b, alg, input)
	b.ReportAllocs()
	for b.Loop() {
		if err := key.Verify(input, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyES256(b *testing.B) { benchmarkVerify(b, ES256) }
func BenchmarkVerifyES384(b *testing.B) { benchmarkVerify(b, ES384) }
func BenchmarkVerifyRS256(b *testing.B) { benchmarkVerify(b, RS256) }
func BenchmarkVerifyPS256(b *testing.B) { benchmarkVerify(b, PS256) }
func BenchmarkVerifyEdDSA(b *testing.B) { benchmarkVerify(b, EdDSA) }

// BenchmarkToken is all a verifier does: parse, check, verify.
func BenchmarkToken(b *testing.B) {
	key, token := publicKey(b, ES256), token(b, ES256, "at+jwt", string(claims300))
	b.ReportAllocs()
	for b.Loop() {
		u, err := Parse(token, 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := u.Verify(key, "at+jwt"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePKIX(b *testing.B) {
	for _, alg := range []Alg{ES256, RS256, EdDSA} {
		der := publicKey(b, alg).PKIX()
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParsePKIX(alg, der); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAllocations fails when the hot path begins to allocate.
func TestAllocations(t *testing.T) {
	k := publicKey(t, ES256)
	dst := make([]byte, 0, 1024)
	sig := bytes.Repeat([]byte{1}, 64)
	if n := testing.AllocsPerRun(100, func() {
		AppendSignature(AppendSigningInput(dst, ES256, k.Kid(), "at+jwt", claims300), sig)
	}); n != 0 {
		t.Errorf("writing a token into a buffer allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseObject(claims300, 0, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("ParseObject allocates %v times, want the members and one copy of the text", n)
	}
}
