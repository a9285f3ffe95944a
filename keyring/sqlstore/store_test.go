package sqlstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// testID is the id of all stores in these tests, so that nothing but their rows tells them apart.
const testID = "6f1d0c6a5e2b9a01"

func newKey() secret.Bytes {
	b := make([]byte, keyLen)
	rand.Read(b)
	return secret.New(b)
}

// made is a store that was made in a file, with the key to it.
type made struct {
	path string
	key  secret.Bytes
}

func mustInit(t testing.TB, e keyring.Edit) made {
	t.Helper()
	return mustInitWith(t, newKey(), e)
}

func mustInitWith(t testing.TB, key secret.Bytes, e keyring.Edit) made {
	t.Helper()
	m := made{filepath.Join(t.TempDir(), "store.db"), key}
	if _, err := initialise(t.Context(), m.path, m.key, meta{store: testID, timing: keyring.DefaultTiming()}, e, schema()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m made) open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), m.path, m.key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) keyring.Store { return mustInit(t, keyring.Edit{}).open(t) })
}

func TestNotInitialised(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	storetest.NotInitialised(t, func() (keyring.Store, error) { return Open(context.Background(), path, newKey()) })
}

func benchmarkRings(n int) keyring.Edit {
	e := keyring.Edit{Issuers: []keyring.Issuer{storetest.Issuer("acme")}}
	for i := range n {
		r := storetest.Ring(fmt.Sprintf("acme/r%d", i))
		storetest.Reserve(&r)
		e.Rings = append(e.Rings, r)
	}
	return e
}

func BenchmarkSwap(b *testing.B) {
	s := mustInit(b, benchmarkRings(1)).open(b)
	grow(b, s)
	c, err := s.Changes(b.Context(), keyring.Position{})
	if err != nil {
		b.Fatal(err)
	}
	at := c.Position
	for b.Loop() {
		if at, err = s.Swap(b.Context(), at, keyring.Edit{Rings: c.Rings}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCut(b *testing.B) {
	s := mustInit(b, benchmarkRings(1)).open(b)
	i := 0
	for b.Loop() {
		i++
		if _, err := s.Cut(b.Context(), keyring.Cutoff{Operation: fmt.Sprint(i), Reach: keyring.Reach{Kind: keyring.All}, Reason: "drill"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChangesUnchanged(b *testing.B) {
	s := mustInit(b, benchmarkRings(1)).open(b)
	c, err := s.Changes(b.Context(), keyring.Position{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Changes(b.Context(), c.Position); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFullRead10k opens and reads a store of 10,000 rings of three keys.
func BenchmarkFullRead10k(b *testing.B) {
	m := mustInit(b, benchmarkRings(10_000))
	s := m.open(b)
	grow(b, s)
	for b.Loop() {
		s, err := Open(b.Context(), m.path, m.key)
		if err != nil {
			b.Fatal(err)
		}
		c, err := s.Changes(b.Context(), keyring.Position{})
		if err != nil || len(c.Rings) != 10_000 || len(c.Rings[0].Keys) != 3 {
			b.Fatal(len(c.Rings), err)
		}
		s.Close()
	}
}

// grow gives every ring an active, a retiring and a staged key.
func grow(tb testing.TB, s *Store) {
	tb.Helper()
	for _, states := range [][]keyring.State{
		{keyring.Staged}, {keyring.Active}, {keyring.Active, keyring.Reserved}, {keyring.Active, keyring.Staged},
		{keyring.Retiring, keyring.Active}, {keyring.Retiring, keyring.Active, keyring.Reserved}, {keyring.Retiring, keyring.Active, keyring.Staged},
	} {
		c, err := s.Changes(tb.Context(), keyring.Position{})
		if err != nil {
			tb.Fatal(err)
		}
		for i := range c.Rings {
			r := &c.Rings[i]
			for k, state := range states {
				if k == len(r.Keys) {
					storetest.Reserve(r)
				} else if r.Keys[k].State != state {
					storetest.Move(&r.Keys[k], state)
				}
			}
		}
		if _, err := s.Swap(tb.Context(), c.Position, keyring.Edit{Rings: c.Rings}); err != nil {
			tb.Fatal(err)
		}
	}
}
