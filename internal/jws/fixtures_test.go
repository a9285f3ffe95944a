package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"io"
	"math/big"
	"sync"
	"testing"
)

// rsaKey is made once: it is the only key here that costs time.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// signer returns a private key for alg. All but the RSA key are the same in every run.
func signer(t testing.TB, alg Alg) crypto.Signer {
	t.Helper()
	switch alg.kty() {
	case "EC":
		d := bytes.Repeat([]byte{1}, alg.width())
		if alg == ES512 {
			d[0] = 0
		}
		key, err := ecdsa.ParseRawPrivateKey(alg.curve(), d)
		if err != nil {
			t.Fatal(err)
		}
		return key
	case "RSA":
		key, err := rsaKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	case "OKP":
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	}
	t.Fatalf("no key for %q", alg)
	return nil
}

func publicKey(t testing.TB, alg Alg) *PublicKey {
	t.Helper()
	k, err := NewPublicKey(alg, signer(t, alg).Public())
	if err != nil {
		t.Fatalf("%s: %v", alg, err)
	}
	return k
}

// rawSign signs as crypto/* does: DER for ECDSA, and deterministically there (RFC 6979).
func rawSign(t testing.TB, alg Alg, input []byte, opts crypto.SignerOpts) []byte {
	t.Helper()
	digest := alg.appendDigest(nil, input)
	if alg == EdDSA {
		digest = input
	}
	var random io.Reader // nil makes ECDSA deterministic
	if alg.isPSS() {
		random = rand.Reader
	}
	sig, err := signer(t, alg).Sign(random, digest, opts)
	if err != nil {
		t.Fatalf("%s: %v", alg, err)
	}
	return sig
}

// sign makes a JWS signature. Its DER is taken apart by encoding/asn1, not by the code under test.
func sign(t testing.TB, alg Alg, input []byte) []byte {
	t.Helper()
	var opts crypto.SignerOpts = alg.Hash()
	if alg.isPSS() {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: alg.Hash()}
	}
	sig := rawSign(t, alg, input, opts)
	if w := alg.width(); w > 0 {
		var v struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sig, &v); err != nil {
			t.Fatal(err)
		}
		sig = make([]byte, 2*w)
		v.R.FillBytes(sig[:w])
		v.S.FillBytes(sig[w:])
	}
	return sig
}

// token makes a complete token of ours.
func token(t testing.TB, alg Alg, typ, payload string) string {
	t.Helper()
	input := AppendSigningInput(nil, alg, publicKey(t, alg).Kid(), typ, []byte(payload))
	return string(AppendSignature(input, sign(t, alg, input)))
}
