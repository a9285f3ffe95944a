package software

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/internal/jws"
)

func TestRewrap(t *testing.T) {
	s, old, young := &backendtest.Storage{}, NewKEK(noon), NewKEK(noon.Add(time.Hour))
	before := open(t, s, old)
	minted := map[string]backends.Minted{}
	for i := range 10 {
		label := fmt.Sprint("key.", i)
		minted[label] = mint(t, before, label, []jws.Alg{jws.ES256, jws.EdDSA}[i%2])
	}
	if err := before.Disable(t.Context(), "key.9"); err != nil {
		t.Fatal(err)
	}
	both := open(t, s, old, young)
	minted["young"] = mint(t, both, "young", jws.ES256)
	var progress []int
	moved, already, err := both.Rewrap(t.Context(), func(done, total int) { progress = append(progress, done, total) })
	if err != nil || moved != 10 || already != 1 {
		t.Errorf("Rewrap: %d moved, %d already, %v; want 10, 1", moved, already, err)
	}
	if len(progress) != 22 || progress[0] != 1 || progress[20] != 11 || progress[21] != 11 {
		t.Errorf("progress %v", progress)
	}
	if moved, already, err := both.Rewrap(t.Context(), nil); err != nil || moved != 0 || already != 11 {
		t.Errorf("again: %d moved, %d already, %v; want 0, 11", moved, already, err)
	}
	after := open(t, s, young) // the old KEK is gone
	for label, m := range minted {
		_, err := after.Sign(t.Context(), m.Ref, m.Public.Alg(), []byte("x"))
		if label == "key.9" {
			if !errors.Is(err, backends.ErrDisabled) {
				t.Errorf("rewrapping enabled a disabled key: %v", err)
			}
		} else if err != nil {
			t.Errorf("key %s after rewrapping: %v", label, err)
		}
	}
}

// TestRewrapLeavesWhatItCannotOpen mixes in a key of a lost KEK, a damaged one and a moved one: the rest moves, they stay
// byte for byte, and the error names the first of them and what it lacks.
func TestRewrapLeavesWhatItCannotOpen(t *testing.T) {
	s, old, young, lost := &backendtest.Storage{}, NewKEK(noon), NewKEK(noon.Add(time.Hour)), NewKEK(noon)
	mint(t, open(t, s, old), "a.good", jws.ES256)
	bad := map[string][]byte{"b.lost": stored(t, lost, "b.lost"), "c.damaged": stored(t, old, "c.damaged"), "d.moved": stored(t, old, "elsewhere")}
	bad["c.damaged"][len(bad["c.damaged"])-1] ^= 1
	for label, data := range bad {
		put(t, s, label, data)
	}
	mint(t, open(t, s, old), "e.good", jws.ES256)
	moved, already, err := open(t, s, old, young).Rewrap(t.Context(), nil)
	if moved != 2 || already != 0 || !errors.Is(err, ErrNoKEK) {
		t.Errorf("%d moved, %d already, %v; want 2, 0 and ErrNoKEK", moved, already, err)
	}
	for _, say := range []string{"b.lost", lost.ID(), "3 could not"} {
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("the error %v does not say %s", err, say)
		}
	}
	for label, data := range bad {
		if now, _, err := s.Get(t.Context(), label); err != nil || !bytes.Equal(now, data) {
			t.Errorf("key %s was changed", label)
		}
	}
}

// TestRewrapWhileServing changes keys under Rewrap's hands, between its read and its write: nothing is enabled or brought back.
func TestRewrapWhileServing(t *testing.T) {
	for name, meanwhile := range map[string]func(*Backend) error{
		"Disable": func(b *Backend) error { return b.Disable(context.Background(), "a") },
		"Destroy": func(b *Backend) error { return b.Destroy(context.Background(), "a") },
		"Rewrap":  func(b *Backend) error { _, _, err := b.Rewrap(context.Background(), nil); return err },
		"Sign": func(b *Backend) error {
			_, err := b.Mint(context.Background(), "a", jws.ES256)
			return err
		},
	} {
		s, old, young := &faulty{}, NewKEK(noon), NewKEK(noon.Add(time.Hour))
		m := mint(t, open(t, s, old), "a", jws.ES256)
		b, server := open(t, s, old, young), open(t, &s.Storage, old, young)
		done := false
		s.afterGet = func(context.Context) {
			if !done {
				done = true
				if err := meanwhile(server); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		moved, already, err := b.Rewrap(t.Context(), nil)
		if err != nil {
			t.Errorf("%s during Rewrap: %v", name, err)
		}
		want := map[string]struct {
			moved, already int
			err            error
		}{"Disable": {1, 0, backends.ErrDisabled}, "Destroy": {0, 0, backends.ErrKeyNotFound}, "Rewrap": {0, 1, nil}, "Sign": {1, 0, nil}}[name]
		if moved != want.moved || already != want.already {
			t.Errorf("%s during Rewrap: %d moved, %d already; want %d, %d", name, moved, already, want.moved, want.already)
		}
		if _, err := open(t, &s.Storage, old, young).Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); !errors.Is(err, want.err) {
			t.Errorf("%s during Rewrap, then Sign: %v, want %v", name, err, want.err)
		}
	}
}

// TestRewrapResumes cancels a run in the middle.
func TestRewrapResumes(t *testing.T) {
	s, old, young := &backendtest.Storage{}, NewKEK(noon), NewKEK(noon.Add(time.Hour))
	for i := range 6 {
		mint(t, open(t, s, old), fmt.Sprint("key.", i), jws.EdDSA)
	}
	b := open(t, s, old, young)
	ctx, cancel := context.WithCancel(t.Context())
	moved, _, err := b.Rewrap(ctx, func(done, _ int) {
		if done == 2 {
			cancel()
		}
	})
	if moved != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled after two: %d moved, %v", moved, err)
	}
	if moved, already, err := b.Rewrap(t.Context(), nil); moved != 4 || already != 2 || err != nil {
		t.Errorf("resumed: %d moved, %d already, %v; want 4, 2", moved, already, err)
	}
}
