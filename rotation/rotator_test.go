package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// hanging is a backend whose answers never come while it hangs.
type hanging struct {
	*simBackend
	hangs *bool
}

func (h hanging) wait(ctx context.Context) error {
	if *h.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (h hanging) Mint(ctx context.Context, label string, alg jws.Alg) (backends.Minted, error) {
	if err := h.wait(ctx); err != nil {
		return backends.Minted{}, err
	}
	return h.simBackend.Mint(ctx, label, alg)
}

func (h hanging) Disable(ctx context.Context, _ string) error { return h.wait(ctx) }

// tooWeak finds that what it has minted is worth less than it promised.
type tooWeak struct{ *simBackend }

func (b tooWeak) Mint(ctx context.Context, label string, alg jws.Alg) (backends.Minted, error) {
	if m, err := b.simBackend.Mint(ctx, label, alg); err != nil {
		return m, err
	}
	return backends.Minted{}, fmt.Errorf("%w: an attribute is wrong", backends.ErrTooWeak)
}

// many is a store with n rings in the backend old, which may be made to hang, and a rotator at work on them. What the
// backend new is, wrap says.
func many(t *testing.T, n int, wrap func(*simBackend) backends.Backend) (*storetest.Memory, *keyring.Live, *bool) {
	t.Helper()
	store := storetest.NewMemory(simStore, simTiming)
	began := time.Now().UTC()
	e := keyring.Edit{Issuers: []keyring.Issuer{{Name: "sim", URL: "https://sim.test", Created: began}}}
	for i := range n {
		r := simRing(fmt.Sprintf("sim/r%d", i), began, time.Hour, 24*time.Hour)
		r.Backend = "old"
		e.Rings = append(e.Rings, r)
	}
	if _, err := store.Swap(t.Context(), keyring.Position{}, e); err != nil {
		t.Fatal(err)
	}
	anchor, err := keyring.CreateAnchor(filepath.Join(anchorDir(t), "anchor"), simStore, keyring.Position{})
	if err != nil {
		t.Fatal(err)
	}
	hangs := new(bool)
	bare := func() *simBackend {
		return &simBackend{keys: map[string]*jws.PublicKey{}, lose: func() bool { return false }}
	}
	set, err := backends.NewSet(map[string]backends.Backend{"old": hanging{bare(), hangs}, "new": wrap(bare())})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	live := keyring.NewLive(store, anchor, log, nil)
	rotator := New(Config{Store: store, Live: live, Backends: set, Policy: DefaultPolicy(simTiming), Log: log})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { rotator.Run(ctx); close(done) }()
	go live.Run(ctx, time.Second)
	t.Cleanup(func() { stop(); <-done })
	time.Sleep(5 * time.Second)
	if got := signing(t, live); got != n {
		t.Fatalf("%d of %d rings sign at first", got, n)
	}
	return store, live, hangs
}

func signing(t *testing.T, live *keyring.Live) (n int) {
	t.Helper()
	s, err := live.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Lines() {
		if l.Signer != nil {
			n++
		}
	}
	return n
}

// revokeAll cuts everything into the backend new.
func revokeAll(t *testing.T, store keyring.Store) {
	t.Helper()
	_, err := store.Cut(t.Context(), keyring.Cutoff{
		Operation: "op", Reach: keyring.Reach{Kind: keyring.All}, Into: "new", Reason: "drill", Actor: "test", Time: time.Now().UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAHangingBackendHoldsUpNobody: when the backend that is left hangs, its keys cannot be destroyed, and all rings have
// a signer in the other one all the same.
func TestAHangingBackendHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rings = 60
		store, live, hangs := many(t, rings, func(b *simBackend) backends.Backend { return b })
		*hangs = true
		revokeAll(t, store)
		time.Sleep(5 * time.Second)
		if n := signing(t, live); n != rings {
			t.Errorf("%d of %d rings sign 5 s after the cut", n, rings)
		}
	})
}

// TestAHopelessReservationIsGivenUp: what a backend minted and could not prove is destroyed, and another is tried, at a
// pace that does not run away.
func TestAHopelessReservationIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var weak tooWeak
		store, _, _ := many(t, 1, func(b *simBackend) backends.Backend { weak = tooWeak{b}; return weak })
		revokeAll(t, store)
		time.Sleep(5 * time.Minute)
		c, err := store.Changes(t.Context(), keyring.Position{})
		if err != nil {
			t.Fatal(err)
		}
		if next := c.Rings[0].NextSerial; next < 4 || next > 30 {
			t.Errorf("after 5 minutes the next serial is %d", next)
		}
		weak.mu.Lock()
		defer weak.mu.Unlock()
		if len(weak.keys) > 1 {
			t.Errorf("%d keys that nobody can use are left in the backend", len(weak.keys))
		}
	})
}

// TestAskedKeepsToTheRing: what is asked for is what the record allows.
func TestAskedKeepsToTheRing(t *testing.T) {
	ring := smallRing()
	if steps, err := Asked(&ring, nil, epoch, nil); err != nil || len(steps) != 2 || steps[0].Kind != Reserve || steps[1].Kind != Mint {
		t.Errorf("an empty ring: %v, %v", steps, err)
	}
	for serial := range uint64(maxPublished) {
		ring.Keys = append(ring.Keys, keyring.Key{Serial: serial + 1, State: keyring.Retiring})
	}
	if _, err := Asked(&ring, nil, epoch, nil); !errors.Is(err, keyring.ErrRefused) {
		t.Errorf("with %d published keys: %v", maxPublished, err)
	}
	ring.Scope.Usage = keyring.VerifyOnly
	if _, err := Asked(&ring, nil, epoch, nil); err == nil {
		t.Error("a ring that never signs is rotated")
	}
}
