package jws

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"
)

// leadingZeros names messages whose deterministic signature by the fixture key has an r or s that begins with
// so many zero bytes, found by search.
var leadingZeros = []struct {
	alg     Alg
	half    int // 0 for r, 1 for s
	zeros   int
	message int
}{
	{ES256, 0, 1, 748}, {ES256, 1, 1, 173}, {ES256, 0, 2, 120268}, {ES256, 1, 2, 36133},
	{ES384, 0, 1, 138}, {ES384, 1, 1, 33}, {ES384, 0, 2, 66662}, {ES384, 1, 2, 6965},
	{ES512, 0, 1, 1}, {ES512, 1, 1, 1}, {ES512, 0, 2, 119}, {ES512, 1, 2, 2006},
}

func TestSignatureFromDERLeadingZeros(t *testing.T) {
	for _, c := range leadingZeros {
		input := fmt.Appendf(nil, "message %d", c.message)
		der := rawSign(t, c.alg, input, c.alg.Hash())
		sig, err := SignatureFromDER(c.alg, der)
		if err != nil {
			t.Fatalf("%s %d: %v", c.alg, c.message, err)
		}
		half := sig[c.half*c.alg.width():][:c.alg.width()]
		if zeros := len(half) - len(bytes.TrimLeft(half, "\x00")); zeros != c.zeros {
			t.Errorf("%s %d: %d leading zero bytes, want %d", c.alg, c.message, zeros, c.zeros)
		}
		if err := publicKey(t, c.alg).Verify(input, sig); err != nil {
			t.Errorf("%s %d: %v", c.alg, c.message, err)
		}
		if !bytes.Equal(sig, sign(t, c.alg, input)) {
			t.Errorf("%s %d: not what encoding/asn1 reads from it", c.alg, c.message)
		}
		if err := publicKey(t, c.alg).Verify(input, bytes.TrimLeft(sig, "\x00")); c.half == 0 && codeOf(t, err) != BadSignature {
			t.Errorf("%s %d: accepted without its leading zeros", c.alg, c.message)
		}
	}
}

// TestDERBothWays: for values at the edges, appendDER writes what encoding/asn1 writes and SignatureFromDER reads it back.
func TestDERBothWays(t *testing.T) {
	for _, a := range []Alg{ES256, ES384, ES512} {
		w, n := a.width(), a.curve().Params().N
		one := big.NewInt(1)
		values := []*big.Int{one, big.NewInt(0x7f), big.NewInt(0x80), big.NewInt(0xff), big.NewInt(0x100), new(big.Int).Sub(n, one), new(big.Int).Rsh(n, 1), new(big.Int).Rsh(n, 8), new(big.Int).Rsh(n, 9)}
		for _, r := range values {
			for _, s := range values {
				want, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
				if err != nil {
					t.Fatal(err)
				}
				sig := append(r.FillBytes(make([]byte, w)), s.FillBytes(make([]byte, w))...)
				if got := appendDER(nil, sig); !bytes.Equal(got, want) {
					t.Errorf("%s: %x, want %x", a, got, want)
				}
				if back, err := SignatureFromDER(a, want); err != nil || !bytes.Equal(back, sig) {
					t.Errorf("%s: %x gives %x, %v", a, want, back, err)
				}
			}
		}
		if got := appendDER(nil, bytes.Repeat([]byte{0xff}, 2*w)); len(got) > maxDER {
			t.Errorf("%s: DER of %d bytes, more than maxDER", a, len(got))
		}
	}
}

func TestSignatureFromDERRefuses(t *testing.T) {
	n := elliptic256Order()
	over := append([]byte{0}, n...)
	integer := func(b ...byte) []byte { return append([]byte{2, byte(len(b))}, b...) }
	sequence := func(parts ...[]byte) []byte {
		body := bytes.Join(parts, nil)
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	one := integer(1)
	cases := []struct {
		name string
		der  []byte
		want Code
	}{
		{"empty", nil, NonCanonical}, {"one byte", []byte{0x30}, NonCanonical}, {"R||S", bytes.Repeat([]byte{0x30}, 64), NonCanonical},
		{"empty sequence", sequence(), NonCanonical}, {"one integer", sequence(one), NonCanonical}, {"three integers", sequence(one, one, one), Trailing},
		{"a set", append([]byte{0x31}, sequence(one, one)[1:]...), NonCanonical},
		{"trailing byte", append(sequence(one, one), 0), NonCanonical}, {"trailing inside", sequence(one, one, []byte{0}), Trailing},
		{"cut", sequence(one, one)[:7], NonCanonical}, {"length too long", []byte{0x30, 7, 2, 1, 1, 2, 1, 1}, NonCanonical},
		{"long form of a short length", []byte{0x30, 0x81, 6, 2, 1, 1, 2, 1, 1}, NonCanonical}, {"two length bytes", []byte{0x30, 0x82, 0, 6, 2, 1, 1, 2, 1, 1}, NonCanonical},
		{"indefinite length", []byte{0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0}, NonCanonical}, {"0x81 alone", []byte{0x30, 0x81}, NonCanonical},
		{"r is no integer", sequence([]byte{3, 1, 1}, one), NonCanonical}, {"s is no integer", sequence(one, []byte{4, 1, 1}), NonCanonical},
		{"r empty", sequence(integer(), one), NonCanonical}, {"s empty", sequence(one, integer()), NonCanonical},
		{"r zero", sequence(integer(0), one), NonCanonical}, {"s zero", sequence(one, integer(0)), NonCanonical}, {"r two zeros", sequence(integer(0, 0), one), NonCanonical},
		{"r negative", sequence(integer(0x80), one), NonCanonical}, {"s negative", sequence(one, integer(0xff, 0x01)), NonCanonical},
		{"r with a zero too many", sequence(integer(0, 1), one), NonCanonical}, {"s with a zero too many", sequence(one, integer(0, 0x7f)), NonCanonical}, {"two zeros too many", sequence(one, integer(0, 0, 0x80)), NonCanonical},
		{"integer longer than the rest", sequence(one, []byte{2, 2, 1}), NonCanonical}, {"integer with a long-form length", sequence([]byte{2, 0x81, 1, 1}, one), NonCanonical},
		{"integer with 0x84 length", sequence([]byte{2, 0x84, 0xff, 0xff, 0xff, 0xff, 1}, one), NonCanonical},
		{"r is n", sequence(integer(over...), one), OutOfRange}, {"s is n", sequence(one, integer(over...)), OutOfRange},
		{"r too wide", sequence(integer(append([]byte{1}, n...)...), one), OutOfRange}, {"s too wide", sequence(one, integer(append([]byte{1}, n...)...)), OutOfRange},
	}
	for _, c := range cases {
		if sig, err := SignatureFromDER(ES256, c.der); codeOf(t, err) != c.want || sig != nil {
			t.Errorf("%s: %x %v, want %s", c.name, sig, err, c.want)
		}
	}
	for _, a := range []Alg{"", "none", RS256, PS512, EdDSA} {
		if _, err := SignatureFromDER(a, sequence(one, one)); codeOf(t, err) != UnknownAlg {
			t.Errorf("%q: %v", a, err)
		}
	}
	// Only the order of the right curve counts.
	if _, err := SignatureFromDER(ES384, sequence(integer(over...), one)); err != nil {
		t.Errorf("ES384: %v", err)
	}
}

func elliptic256Order() []byte { return ES256.curve().Params().N.Bytes() }

func TestMalleability(t *testing.T) {
	// (r, n-s) is a second signature of the same bytes, by the nature of ECDSA: RFC 7518 has no low-s rule.
	// This is why nothing may be keyed by token string.
	input := []byte("x")
	sig := sign(t, ES256, input)
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(ES256.curve().Params().N, s).FillBytes(sig[32:])
	if err := publicKey(t, ES256).Verify(input, sig); err != nil {
		t.Errorf("a low-s rule has crept in: %v", err)
	}
	if !ecdsa.VerifyASN1(signer(t, ES256).Public().(*ecdsa.PublicKey), ES256.appendDigest(nil, input), appendDER(nil, sig)) {
		t.Error("crypto/ecdsa disagrees")
	}
}
