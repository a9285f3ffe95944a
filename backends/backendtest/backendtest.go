// Package backendtest is the conformance suite of [backends.Backend], and an in-memory storage to try things on.
//
// Every backend runs [Run] from its own tests, over the real thing where there is one. The suite mints under labels nobody else
// uses, so it may share a Vault or an HSM with others, and it destroys what it minted.
package backendtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// Fixture is a backend to be held to its contract.
type Fixture struct {
	Backend    backends.Backend
	Algs       []jws.Alg          // every algorithm it supports; the first one is used where one is enough
	Protection keyring.Protection // what Mint must prove

	// Restart opens a second backend on the same storage, as after a crash or beside the first one; nil if there is no such thing.
	Restart func(t *testing.T) backends.Backend
	// Secrets returns the private bytes of the key under label, each in a form that would be seen if it were printed whole;
	// nil where nobody can know them.
	Secrets func(t *testing.T, label string) [][]byte
	// Prompt is how soon a call must return once its context is done; one second when zero.
	Prompt time.Duration
}

// Run holds a backend to its contract. open is called once for each part and may return the same storage each time.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	parts := []struct {
		name string
		run  func(t *testing.T, f *run)
	}{
		{"Algorithms", testAlgorithms},
		{"UnsupportedAlgorithms", testUnsupported},
		{"MintIsIdempotent", testMintIdempotent},
		{"MintConcurrently", testMintConcurrently},
		{"MintOtherAlgorithm", testMintOtherAlgorithm},
		{"Labels", testLabels},
		{"RefsPinKeys", testRefs},
		{"SignConcurrently", testSignConcurrently},
		{"Disable", testDisable},
		{"Destroy", testDestroy},
		{"DestroyWhileSigning", testDestroyWhileSigning},
		{"Restart", testRestart},
		{"Contexts", testContexts},
		{"NothingPrints", testNothingPrints},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			f := open(t)
			if f.Backend == nil || len(f.Algs) == 0 || f.Protection == 0 {
				t.Fatal("the fixture needs a backend, its algorithms and its protection")
			}
			if f.Prompt == 0 {
				f.Prompt = time.Second
			}
			p.run(t, &run{Fixture: f, t: t})
		})
	}
}

// run is one part of the suite at work.
type run struct {
	Fixture
	t *testing.T
}

// label returns a label of the shape keyring.Label gives, and destroys its key when the test ends.
func (f *run) label() string {
	f.t.Helper()
	k := keyring.Key{Serial: 17, Nonce: keyring.NewNonce()}
	return f.cleaned(keyring.Label("0123456789abcdef", "payments/access", &k))
}

func (f *run) cleaned(label string) string {
	f.t.Helper()
	f.t.Cleanup(func() {
		if err := f.Backend.Destroy(context.Background(), label); err != nil {
			f.t.Errorf("destroying %s at the end: %v", label, err)
		}
	})
	return label
}

// mint mints and checks what every minted key must have.
func (f *run) mint(b backends.Backend, label string, alg jws.Alg) backends.Minted {
	f.t.Helper()
	m, err := b.Mint(f.t.Context(), label, alg)
	if err != nil {
		f.t.Fatalf("Mint(%s, %s): %v", label, alg, err)
	}
	f.check(m, alg)
	return m
}

func (f *run) check(m backends.Minted, alg jws.Alg) {
	f.t.Helper()
	if m.Public == nil || m.Public.Alg() != alg {
		f.t.Fatalf("minted %v, want a key for %s", m.Public, alg)
	}
	if m.Protection != f.Protection {
		f.t.Errorf("%s: protection %v, want %v", alg, m.Protection, f.Protection)
	}
	if m.Ref == "" || len(m.Ref) > backends.MaxRef || strings.ContainsFunc(m.Ref, func(r rune) bool { return r <= ' ' || r > '~' }) {
		f.t.Errorf("%s: ref %q is not 1 to %d bytes of printable ASCII", alg, m.Ref, backends.MaxRef)
	}
}

// signs checks that m signs input, in exactly the length its algorithm gives, and returns the signature.
func (f *run) signs(b backends.Backend, m backends.Minted, input []byte) []byte {
	f.t.Helper()
	sig, err := b.Sign(f.t.Context(), m.Ref, m.Public.Alg(), input)
	if err != nil {
		f.t.Fatalf("Sign(%s, %s): %v", m.Ref, m.Public.Alg(), err)
	}
	if want := m.Public.SignatureSize(); len(sig) != want {
		f.t.Fatalf("%s: a signature of %d bytes, want %d", m.Public.Alg(), len(sig), want)
	}
	if err := m.Public.Verify(input, sig); err != nil {
		f.t.Fatalf("%s: %v", m.Public.Alg(), err)
	}
	return sig
}

// refuses checks that b does not sign with ref. The error must be one of want, if any are given.
func (f *run) refuses(b backends.Backend, ref string, alg jws.Alg, want ...error) {
	f.t.Helper()
	sig, err := b.Sign(f.t.Context(), ref, alg, input)
	if err == nil || sig != nil {
		f.t.Errorf("Sign(%q, %s) = %d bytes, %v; want no signature and an error", ref, alg, len(sig), err)
		return
	}
	isOneOf(f.t, err, want...)
}

// input is what most tests sign: two parts with a dot between them, as a token has.
var input = []byte("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0")
