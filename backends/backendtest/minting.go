package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
)

// isOneOf checks that err is in the list; any error will do if the list is empty.
func isOneOf(t *testing.T, err error, want ...error) {
	t.Helper()
	if len(want) > 0 && !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("error %q, want one of %q", err, want)
	}
}

// testAlgorithms mints and signs with every algorithm, and asks every key for all the others: an RSA key that signs both
// RS256 and PS256 is two keys to a verifier that trusts the header.
func testAlgorithms(t *testing.T, f *run) {
	for _, alg := range f.Algs {
		t.Run(string(alg), func(t *testing.T) {
			f := &run{Fixture: f.Fixture, t: t}
			m := f.mint(f.Backend, f.label(), alg)
			long := bytes.Repeat([]byte("intaglio."), 400)
			for _, input := range [][]byte{input, long[:1], long, {0x30, 0x00, 0xff}} {
				f.signs(f.Backend, m, input)
			}
			if alg == jws.ES256 || alg == jws.ES384 || alg == jws.ES512 {
				// About one in 128 has a half that begins with a zero byte, and it must keep it.
				for i := range 40 {
					f.signs(f.Backend, m, fmt.Append(nil, i))
				}
			}
			if m.Public.Verify(input, f.signs(f.Backend, m, long)) == nil {
				t.Error("a signature verifies over another input")
			}
			for _, other := range jws.Algs() {
				if other != alg {
					f.refuses(f.Backend, m.Ref, other, backends.ErrMismatch)
				}
			}
			f.refuses(f.Backend, m.Ref, "")
			f.refuses(f.Backend, m.Ref, "none")
		})
	}
}

func testUnsupported(t *testing.T, f *run) {
	algs := []jws.Alg{"", "none", "HS256", "es256", "ES256K"}
	for _, alg := range jws.Algs() {
		if !slices.Contains(f.Algs, alg) {
			algs = append(algs, alg)
		}
	}
	for _, alg := range algs {
		label := f.label()
		if _, err := f.Backend.Mint(t.Context(), label, alg); !errors.Is(err, backends.ErrUnsupported) {
			t.Errorf("Mint for %q: %v, want ErrUnsupported", alg, err)
		}
		// Nothing was left behind under the label.
		f.mint(f.Backend, label, f.Algs[0])
	}
}

func testMintIdempotent(t *testing.T, f *run) {
	for _, alg := range f.Algs[:min(2, len(f.Algs))] {
		label := f.label()
		first := f.mint(f.Backend, label, alg)
		for range 3 {
			f.same(first, f.mint(f.Backend, label, alg))
		}
		f.signs(f.Backend, first, input)
		f.same(first, f.mint(f.Backend, label, alg))
	}
}

func (f *run) same(a, b backends.Minted) {
	f.t.Helper()
	if a.Ref != b.Ref || !a.Public.Equal(b.Public) {
		f.t.Fatalf("one label, two keys: %s %v and %s %v", a.Ref, a.Public, b.Ref, b.Public)
	}
}

// testMintConcurrently mints under one label from 16 goroutines, and through two backends on one storage where that is possible.
func testMintConcurrently(t *testing.T, f *run) {
	both := []backends.Backend{f.Backend, f.Backend}
	if f.Restart != nil {
		both[1] = f.Restart(t)
	}
	alg := f.Algs[0]
	for range 4 {
		label := f.label()
		var minted [16]backends.Minted
		var errs [16]error
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range minted {
			all.Go(func() {
				<-start
				minted[i], errs[i] = both[i%2].Mint(t.Context(), label, alg)
			})
		}
		close(start)
		all.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		for i, m := range minted {
			f.check(m, alg)
			f.same(minted[0], m)
			f.signs(both[i%2], m, input)
		}
	}
}

func testMintOtherAlgorithm(t *testing.T, f *run) {
	if len(f.Algs) < 2 {
		t.Logf("only %s is supported: there is no other algorithm to ask for", f.Algs[0])
		return
	}
	label := f.label()
	m := f.mint(f.Backend, label, f.Algs[0])
	for _, alg := range f.Algs[1:] {
		if _, err := f.Backend.Mint(t.Context(), label, alg); !errors.Is(err, backends.ErrMismatch) {
			t.Errorf("Mint for %s over a key for %s: %v, want ErrMismatch", alg, f.Algs[0], err)
		}
	}
	f.same(m, f.mint(f.Backend, label, f.Algs[0]))
	f.signs(f.Backend, m, input)
}

// testLabels checks that labels which resemble each other name different keys, and that what is no label is refused.
func testLabels(t *testing.T, f *run) {
	alg, base := f.Algs[0], f.label()
	labels := []string{
		base, base + ".1", base + "-1", base + "_1", base + ".",
		f.cleaned(strings.ToUpper(base[:1]) + base[1:] + "x"),
		f.cleaned(base + strings.Repeat(".0123456789abcdef", 20)[:backends.MaxLabel-len(base)]),
	}
	for _, label := range labels[1:5] {
		f.cleaned(label)
	}
	seen := map[string]string{}
	for _, label := range labels {
		m := f.mint(f.Backend, label, alg)
		if other, ok := seen[m.Public.Kid()]; ok {
			t.Errorf("labels %s and %s name one key", label, other)
		}
		seen[m.Public.Kid()] = label
		f.signs(f.Backend, m, input)
	}
	bad := []string{"", ".a", "-a", "_a", "a b", "a/b", "../a", "a#b", "a:1", "a\x00", "a\n", "ä", "a%2f", strings.Repeat("a", backends.MaxLabel+1)}
	for _, label := range bad {
		if _, err := f.Backend.Mint(t.Context(), label, alg); !errors.Is(err, backends.ErrInvalid) {
			t.Errorf("Mint(%q): %v, want ErrInvalid", label, err)
		}
		if err := f.Backend.Disable(t.Context(), label); !errors.Is(err, backends.ErrInvalid) {
			t.Errorf("Disable(%q): %v, want ErrInvalid", label, err)
		}
		if err := f.Backend.Destroy(t.Context(), label); !errors.Is(err, backends.ErrInvalid) {
			t.Errorf("Destroy(%q): %v, want ErrInvalid", label, err)
		}
	}
}

// testRefs checks that a ref names one key and nothing near it.
func testRefs(t *testing.T, f *run) {
	alg := f.Algs[0]
	a, b := f.mint(f.Backend, f.label(), alg), f.mint(f.Backend, f.label(), alg)
	if a.Ref == b.Ref || a.Public.Equal(b.Public) {
		t.Fatal("two labels, one key")
	}
	if b.Public.Verify(input, f.signs(f.Backend, a, input)) == nil {
		t.Error("one ref signs with the key of another")
	}
	for _, ref := range []string{"", "x", "#", ":", "/", "\x00", a.Ref + "x", a.Ref + "1", " " + a.Ref, a.Ref + " ", a.Ref[1:], a.Ref[:len(a.Ref)-1]} {
		f.refuses(f.Backend, ref, alg, backends.ErrKeyNotFound, backends.ErrInvalid)
	}
	for i := range len(a.Ref) {
		near := []byte(a.Ref)
		if near[i]++; near[i] > '~' {
			near[i] -= 2
		}
		f.refuses(f.Backend, string(near), alg, backends.ErrKeyNotFound, backends.ErrInvalid)
	}
	f.signs(f.Backend, a, input)
	f.signs(f.Backend, b, input)
}
