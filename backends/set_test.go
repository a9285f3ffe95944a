package backends

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// remote is a backend that a test can make lie. It says nothing of its protection, so everything it does is checked.
type remote struct {
	minted Minted
	sign   func(input []byte) ([]byte, error)
	err    error
	calls  []string
	ctx    context.Context // of the last call
}

func (r *remote) Mint(ctx context.Context, label string, alg jws.Alg) (Minted, error) {
	r.calls, r.ctx = append(r.calls, "mint "+label+" "+string(alg)), ctx
	return r.minted, r.err
}

func (r *remote) Sign(ctx context.Context, ref string, alg jws.Alg, input []byte) ([]byte, error) {
	r.calls, r.ctx = append(r.calls, "sign "+ref+" "+string(alg)), ctx
	if r.err != nil {
		return nil, r.err
	}
	return r.sign(input)
}

func (r *remote) Disable(ctx context.Context, label string) error {
	r.calls, r.ctx = append(r.calls, "disable "+label), ctx
	return r.err
}

func (r *remote) Destroy(ctx context.Context, label string) error {
	r.calls, r.ctx = append(r.calls, "destroy "+label), ctx
	return r.err
}

// local says what remote does not.
type local struct {
	remote
	protection keyring.Protection
	pins       bool
}

func (l *local) Protection() keyring.Protection   { return l.protection }
func (l *local) Pins(string, *jws.PublicKey) bool { return l.pins }

// newKey returns a public key and what signs for it.
func newKey(t *testing.T) (*jws.PublicKey, func([]byte) ([]byte, error)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jws.NewPublicKey(jws.ES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public, func(input []byte) ([]byte, error) {
		digest := sha256.Sum256(input)
		der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			return nil, err
		}
		return jws.SignatureFromDER(jws.ES256, der)
	}
}

func newSet(t *testing.T, named map[string]Backend) *Set {
	t.Helper()
	s, err := NewSet(named)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNothingUnverifiedLeaves lets backends lie in every way a signature can be wrong.
func TestNothingUnverifiedLeaves(t *testing.T) {
	public, sign := newKey(t)
	_, another := newKey(t)
	input := []byte("header.payload")
	lies := map[string]func([]byte) ([]byte, error){
		"another key":   another,
		"another input": func(in []byte) ([]byte, error) { return sign(append(in, '.')) },
		"a flipped bit": func(in []byte) ([]byte, error) { sig, err := sign(in); sig[40] ^= 4; return sig, err },
		"a byte short":  func(in []byte) ([]byte, error) { sig, err := sign(in); return sig[:63], err },
		"a byte more":   func(in []byte) ([]byte, error) { sig, err := sign(in); return append(sig, 0), err },
		"nothing":       func([]byte) ([]byte, error) { return nil, nil },
		"zeros":         func([]byte) ([]byte, error) { return make([]byte, 64), nil },
	}
	for name, lie := range lies {
		r := remote{sign: lie}
		for kind, b := range map[string]Backend{
			"says nothing of itself":            &r,
			"remote":                            &local{r, keyring.Remote, false},
			"remote that claims to pin":         &local{r, keyring.Remote, true},
			"hsm that claims to pin":            &local{r, keyring.HSM, true},
			"in this process, not the same key": &local{r, keyring.Software, false},
		} {
			sig, err := newSet(t, map[string]Backend{"b": b}).Sign(t.Context(), "b", "ref", public, input)
			if sig != nil || !errors.Is(err, ErrWrongSignature) {
				t.Errorf("%s from a backend that is %s: %d bytes, %v; want ErrWrongSignature", name, kind, len(sig), err)
			}
		}
	}
	for _, b := range []Backend{&remote{sign: sign}, &local{remote{sign: sign}, keyring.HSM, false}} {
		sig, err := newSet(t, map[string]Backend{"b": b}).Sign(t.Context(), "b", "ref", public, input)
		if err != nil || public.Verify(input, sig) != nil {
			t.Errorf("a true signature: %v", err)
		}
	}
}

// TestPinnedIsBelieved shows the one exemption, by a lie that passes.
func TestPinnedIsBelieved(t *testing.T) {
	public, _ := newKey(t)
	b := &local{remote{sign: func([]byte) ([]byte, error) { return []byte("unchecked"), nil }}, keyring.Software, true}
	sig, err := newSet(t, map[string]Backend{"b": b}).Sign(t.Context(), "b", "ref", public, nil)
	if string(sig) != "unchecked" || err != nil {
		t.Errorf("%q, %v", sig, err)
	}
}

func TestSetNamesBackendAndKey(t *testing.T) {
	public, sign := newKey(t)
	r := &remote{sign: sign, err: ErrUnavailable}
	s := newSet(t, map[string]Backend{"kms-1": r, "other": &remote{}})
	calls := map[string]func(backend string) error{
		"minting store.a.1.n":    func(b string) error { _, err := s.Mint(t.Context(), b, "store.a.1.n", jws.ES256); return err },
		"signing with store#kid": func(b string) error { _, err := s.Sign(t.Context(), b, "store#kid", public, nil); return err },
		"disabling store.a.1.n":  func(b string) error { return s.Disable(t.Context(), b, "store.a.1.n") },
		"destroying store.a.1.n": func(b string) error { return s.Destroy(t.Context(), b, "store.a.1.n") },
	}
	for say, call := range calls {
		if err := call("kms-1"); !errors.Is(err, ErrUnavailable) || !strings.HasPrefix(err.Error(), say+" in backend kms-1: ") {
			t.Errorf("%v; want %q and the backend", err, say)
		}
		if err := call("kms-2"); !errors.Is(err, ErrUnknownBackend) || !strings.Contains(err.Error(), "kms-2") {
			t.Errorf("%v; want ErrUnknownBackend and its name", err)
		}
	}
	if len(r.calls) != len(calls) {
		t.Errorf("%d calls reached the backend, want %d: %v", len(r.calls), len(calls), r.calls)
	}
}

// TestSetChecksMinted lets Mint return what must not be recorded.
func TestSetChecksMinted(t *testing.T) {
	public, _ := newKey(t)
	good := Minted{Ref: "ref", Public: public, Protection: keyring.HSM}
	for name, c := range map[string]struct {
		edit func(*Minted)
		want error
	}{
		"as promised":        {func(*Minted) {}, nil},
		"no ref":             {func(m *Minted) { m.Ref = "" }, ErrInvalid},
		"a ref with a space": {func(m *Minted) { m.Ref = "a b" }, ErrInvalid},
		"a ref too long":     {func(m *Minted) { m.Ref = strings.Repeat("a", MaxRef+1) }, ErrInvalid},
		"no public key":      {func(m *Minted) { m.Public = nil }, ErrMismatch},
		"less protection":    {func(m *Minted) { m.Protection = keyring.Remote }, ErrTooWeak},
		"no protection":      {func(m *Minted) { m.Protection = 0 }, ErrTooWeak},
	} {
		b := &local{remote: remote{minted: good}, protection: keyring.HSM}
		c.edit(&b.minted)
		m, err := newSet(t, map[string]Backend{"b": b}).Mint(t.Context(), "b", "label", jws.ES256)
		if !errors.Is(err, c.want) || err != nil && m != (Minted{}) {
			t.Errorf("%s: %v, %v; want %v", name, m, err, c.want)
		}
	}
	b := &remote{minted: good}
	s := newSet(t, map[string]Backend{"b": b})
	if _, err := s.Mint(t.Context(), "b", "label", jws.ES384); !errors.Is(err, ErrMismatch) {
		t.Errorf("a key for another algorithm: %v", err)
	}
	b.calls = nil
	for _, alg := range []jws.Alg{"", "none", "HS256"} {
		if _, err := s.Mint(t.Context(), "b", "label", alg); !errors.Is(err, ErrUnsupported) {
			t.Errorf("algorithm %q: %v", alg, err)
		}
	}
	if len(b.calls) > 0 {
		t.Errorf("the backend was asked: %v", b.calls)
	}
}

// TestSetKeepsCallsBack checks what never reaches a backend, and that the caller's context does.
func TestSetKeepsCallsBack(t *testing.T) {
	public, sign := newKey(t)
	b := &remote{sign: sign, minted: Minted{Ref: "ref", Public: public, Protection: keyring.Software}}
	s := newSet(t, map[string]Backend{"b": b})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	all := func(ctx context.Context, label, ref string, pub *jws.PublicKey) []error {
		_, mint := s.Mint(ctx, "b", label, jws.ES256)
		_, sign := s.Sign(ctx, "b", ref, pub, nil)
		return []error{mint, sign, s.Disable(ctx, "b", label), s.Destroy(ctx, "b", label)}
	}
	for _, err := range all(done, "label", "ref", public) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with a cancelled context: %v", err)
		}
	}
	for _, err := range append(all(t.Context(), "no label", "", public), all(t.Context(), "", "ref", nil)...) {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("without a label, a ref or a public key: %v", err)
		}
	}
	if len(b.calls) > 0 {
		t.Errorf("the backend was asked: %v", b.calls)
	}
	type key struct{}
	for _, err := range all(context.WithValue(t.Context(), key{}, "mine"), "label", "ref", public) {
		if err != nil || b.ctx.Value(key{}) != "mine" {
			t.Errorf("%v; the caller's context did not reach the backend", err)
		}
	}
}

func TestSetOfNamedBackends(t *testing.T) {
	s := newSet(t, map[string]Backend{"vault": &local{protection: keyring.Remote}, "hsm": &local{protection: keyring.HSM}, "a": &remote{}})
	if got := s.Names(); !slices.Equal(got, []string{"a", "hsm", "vault"}) {
		t.Errorf("names %v", got)
	}
	for name, want := range map[string]keyring.Protection{"vault": keyring.Remote, "hsm": keyring.HSM, "a": keyring.Software} {
		if got, err := s.Protection(name); got != want || err != nil {
			t.Errorf("protection of %s: %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := s.Protection("b"); !errors.Is(err, ErrUnknownBackend) {
		t.Errorf("protection of an unknown backend: %v", err)
	}
	for name, b := range map[string]Backend{"": &remote{}, "Vault": &remote{}, "a/b": &remote{}, "vault": nil} {
		if _, err := NewSet(map[string]Backend{name: b}); !errors.Is(err, ErrInvalid) {
			t.Errorf("backend %q, %v: %v, want ErrInvalid", name, b, err)
		}
	}
}
