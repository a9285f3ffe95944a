package software

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// open returns a backend over s, and fails the test if it cannot.
func open(t testing.TB, s Sealed, keks ...KEK) *Backend {
	t.Helper()
	b, err := New(t.Context(), "soft", s, keks...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mint(t testing.TB, b *Backend, label string, alg jws.Alg) backends.Minted {
	t.Helper()
	m, err := b.Mint(t.Context(), label, alg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		s, kek := &backendtest.Storage{}, NewKEK(noon)
		b := open(t, s, kek)
		return backendtest.Fixture{
			Backend:    b,
			Algs:       jws.Algs(),
			Protection: keyring.Software,
			Restart:    func(t *testing.T) backends.Backend { return open(t, s, kek) },
			Secrets: func(t *testing.T, label string) [][]byte {
				return append(scalars(t, b, label), kek.key.Reveal())
			},
		}
	})
}

// scalars opens the blob under label and returns the private numbers in it.
func scalars(t *testing.T, b *Backend, label string) [][]byte {
	t.Helper()
	data, ok, err := b.sealed.Get(t.Context(), label)
	if err != nil || !ok {
		t.Fatalf("no blob under %s: %v", label, err)
	}
	sealed, err := parseBlob(label, data)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := sealed.open(b.keks)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		t.Fatal(err)
	}
	switch key := private.(type) {
	case *ecdsa.PrivateKey:
		raw, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{raw}
	case *rsa.PrivateKey:
		return [][]byte{key.D.Bytes(), key.Primes[0].Bytes(), key.Primes[1].Bytes()}
	case ed25519.PrivateKey:
		return [][]byte{key.Seed()}
	}
	t.Fatalf("a private key of type %T", private)
	return nil
}

// TestNothingPrints goes beyond the suite: the values inside the package must not print either, an open key above all.
func TestNothingPrints(t *testing.T) {
	kek := NewKEK(noon)
	b := open(t, &backendtest.Storage{}, kek)
	for _, alg := range []jws.Alg{jws.ES256, jws.RS256, jws.EdDSA} {
		label := "print." + strings.ToLower(string(alg))
		m := mint(t, b, label, alg)
		if _, err := b.Sign(t.Context(), m.Ref, alg, []byte("x")); err != nil {
			t.Fatal(err)
		}
		p, err := b.pair(t.Context(), label)
		if err != nil {
			t.Fatal(err)
		}
		found, _ := b.open.Load(label)
		secrets := append(scalars(t, b, label), kek.key.Reveal())
		backendtest.NoLeaks(t, secrets, b, p, *p, found, kek, &kek, b.keks, struct{ k KEK }{kek}, struct{ b *Backend }{b}, struct{ p pair }{*p})
	}
	p, err := b.pair(t.Context(), "print.es256")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{b, kek, &kek, p, *p, struct{ K KEK }{kek}.K} {
		if got := fmt.Sprintf("%v %+v %#v %s %d", v, v, v, v, v); got != strings.TrimSpace(strings.Repeat("[secret] ", 5)) {
			t.Errorf("%T prints as %s", v, got)
		}
		if got, err := json.Marshal(v); err != nil || string(got) != `"[secret]"` {
			t.Errorf("%T encodes as %s, %v", v, got, err)
		}
	}
}

// TestRefsPinThumbprints puts another key of the same algorithm under a label, as Destroy and Mint by somebody else could.
func TestRefsPinThumbprints(t *testing.T) {
	s, kek := &backendtest.Storage{}, NewKEK(noon)
	b := open(t, s, kek)
	first, other := mint(t, b, "a", jws.ES256), mint(t, b, "b", jws.ES256)
	crossed := newRef("a", other.Public)
	if _, err := b.Sign(t.Context(), crossed, jws.ES256, []byte("x")); !errors.Is(err, backends.ErrKeyNotFound) {
		t.Errorf("label a with the thumbprint of b: %v, want ErrKeyNotFound", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	second := mint(t, open(t, s, kek), "a", jws.ES256)
	if _, err := open(t, s, kek).Sign(t.Context(), first.Ref, jws.ES256, []byte("x")); !errors.Is(err, backends.ErrKeyNotFound) {
		t.Errorf("the ref of a key that was replaced: %v, want ErrKeyNotFound", err)
	}
	if !b.Pins(second.Ref, second.Public) || b.Pins(second.Ref, first.Public) || b.Pins("a", first.Public) {
		t.Error("Pins does not tell keys apart")
	}
}

// TestStorageHoldsNoPlainKeys looks for the private numbers in what is stored.
func TestStorageHoldsNoPlainKeys(t *testing.T) {
	s := &backendtest.Storage{}
	b := open(t, s, NewKEK(noon))
	for _, alg := range []jws.Alg{jws.ES256, jws.RS256, jws.EdDSA} {
		mint(t, b, string(alg), alg)
		data, _, err := s.Get(t.Context(), string(alg))
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range scalars(t, b, string(alg)) {
			if bytes.Contains(data, number[:16]) {
				t.Errorf("%s: a private number is stored in the clear", alg)
			}
		}
	}
}

// TestPairMustFit seals a private key beside somebody else's public key, with the right KEK: opening must notice.
func TestPairMustFit(t *testing.T) {
	kek := NewKEK(noon)
	b := open(t, &backendtest.Storage{}, kek)
	for _, alg := range []jws.Alg{jws.ES256, jws.EdDSA, jws.RS256} {
		var halves [2]crypto.Signer
		for i := range halves {
			var err error
			if halves[i], err = generate(t.Context(), alg); err != nil {
				t.Fatal(err)
			}
		}
		public, err := jws.NewPublicKey(alg, halves[0].Public())
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, ErrDamaged} {
			plain, err := x509.MarshalPKCS8PrivateKey(halves[i])
			if err != nil {
				t.Fatal(err)
			}
			data := sealedBlob(t, kek, &blob{state: usable, label: "a", alg: alg, public: public.PKIX()}, plain)
			if _, err := b.unseal("a", data); !errors.Is(err, want) {
				t.Errorf("%s with half %d: %v, want %v", alg, i, err, want)
			}
		}
	}
}

// TestProofFails: a pair whose signatures its public key does not verify is no pair, whatever its numbers say.
func TestProofFails(t *testing.T) {
	key, err := generate(t.Context(), jws.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jws.NewPublicKey(jws.EdDSA, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := signEd25519(key.(ed25519.PrivateKey))
	for name, c := range map[string]struct {
		sign func([]byte) ([]byte, error)
		want error
	}{
		"right":   {good, nil},
		"flipped": {func(in []byte) ([]byte, error) { sig, err := good(in); sig[0] ^= 1; return sig, err }, ErrDamaged},
		"failing": {func([]byte) ([]byte, error) { return nil, errors.New("no") }, ErrDamaged},
	} {
		if err := (&pair{public: public, sign: c.sign}).prove(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestDrawingIsGivenUp: drawing an RSA key takes long, and nobody may have to wait for one they no longer want.
func TestDrawingIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := generate(ctx, jws.RS256); !errors.Is(err, context.Canceled) {
		t.Errorf("drawing a key for nobody: %v, want Canceled", err)
	}
}

func sealedBlob(t *testing.T, k KEK, b *blob, plain []byte) []byte {
	t.Helper()
	if err := b.seal(k, plain); err != nil {
		t.Fatal(err)
	}
	data, err := b.encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
