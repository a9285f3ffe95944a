package keyring_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

const storeID = "0123456789abcdef"

var liveTiming = keyring.Timing{SnapshotTTL: 10 * time.Second, MaxAge: time.Minute}

func newLive(t *testing.T, store keyring.Store, now func() time.Time) *keyring.Live {
	t.Helper()
	path := filepath.Join(t.TempDir(), "anchor")
	anchor, err := keyring.CreateAnchor(path, storeID, keyring.Position{})
	if err != nil {
		t.Fatal(err)
	}
	return keyring.NewLive(store, anchor, slog.New(slog.DiscardHandler), now)
}

func issuer(name string) keyring.Issuer {
	return keyring.Issuer{Name: name, URL: "https://" + name + ".test", Created: time.Unix(1, 0).UTC()}
}

func write(t *testing.T, store keyring.Store, asOf keyring.Position, name string) keyring.Position {
	t.Helper()
	at, err := store.Swap(context.Background(), asOf, keyring.Edit{Issuers: []keyring.Issuer{issuer(name)}})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestStaleAfterTTL: a replica that cannot reach its store stops when the snapshot's time is over, counted from before
// it asked, and goes on when it can again.
func TestStaleAfterTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory(storeID, liveTiming)
		down := false
		store.Before = func(string) error {
			time.Sleep(2 * time.Second) // asking takes time, which counts
			if down {
				return errors.New("no route to the store")
			}
			return nil
		}
		l := newLive(t, store, nil)
		if _, err := l.Current(); !errors.Is(err, keyring.ErrStale) {
			t.Errorf("before the first refresh: %v", err)
		}
		if err := l.Refresh(t.Context()); err != nil { // asks twice: for the anchor's position, then for everything
			t.Fatal(err)
		}
		down = true
		if err := l.Refresh(t.Context()); err == nil { // 2 s more
			t.Error("refreshed without a store")
		}
		time.Sleep(4*time.Second - time.Millisecond)
		if _, err := l.Current(); err != nil {
			t.Errorf("just before its time is over: %v", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := l.Current(); !errors.Is(err, keyring.ErrStale) {
			t.Errorf("when its time is over: %v", err)
		}
		down = false
		if err := l.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Current(); err != nil {
			t.Errorf("after the store came back: %v", err)
		}
	})
}

// TestWallClockCannotKeepASnapshot: a wall clock set forward stops the replica early, one set back changes nothing.
func TestWallClockCannotKeepASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump time.Duration
		now := func() time.Time {
			if jump == 0 {
				return time.Now()
			}
			return time.Now().Round(0).Add(jump) // what a stepped clock shows, without the monotonic reading
		}
		l := newLive(t, storetest.NewMemory(storeID, liveTiming), now)
		if err := l.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		jump = 10 * time.Second
		if _, err := l.Current(); !errors.Is(err, keyring.ErrStale) {
			t.Errorf("clock set forward: %v", err)
		}
		jump = 0
		time.Sleep(9 * time.Second)
		if _, err := l.Current(); err != nil {
			t.Errorf("after 9 s: %v", err)
		}
	})
}

// TestRunKeepsItFresh also shows that Changed is a level.
func TestRunKeepsItFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory(storeID, liveTiming)
		l := newLive(t, store, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx, time.Second); close(done) }()
		time.Sleep(1500 * time.Millisecond)
		at := keyring.Position{}
		for i := range 5 {
			s, err := l.Current()
			if err != nil {
				t.Fatal(err)
			}
			at = write(t, store, s.Position, "issuer"+string(rune('a'+i)))
			time.Sleep(time.Second)
		}
		if s, err := l.Current(); err != nil || s.Position != at || len(s.Issuers()) != 5 {
			t.Errorf("after five writes at %v: %v", s.Position, err)
		}
		<-l.Changed()
		select {
		case <-l.Changed():
			t.Error("Changed queued")
		default:
		}
		stop()
		<-done
	})
}

// TestRefusesAnotherPast: a store that went back, or another store, stops the replica for good.
func TestRefusesAnotherPast(t *testing.T) {
	at := func(n int) (*storetest.Memory, keyring.Position) {
		store := storetest.NewMemory(storeID, liveTiming)
		var p keyring.Position
		for i := range n {
			p = write(t, store, p, "issuer"+string(rune('a'+i)))
		}
		return store, p
	}
	real, head := at(3)
	older, _ := at(2)
	fork, second := at(2)
	forked := write(t, fork, second, "elsewhere")
	if forked.Revision != head.Revision || forked.Digest == head.Digest {
		t.Fatal("the fork is not a fork")
	}
	foreign := storetest.NewMemory("fedcba9876543210", liveTiming)

	for name, after := range map[string]keyring.Store{"went back": older, "another past": fork, "another store": foreign} {
		for _, restarted := range []bool{false, true} {
			sw := &switching{Store: real}
			path := filepath.Join(t.TempDir(), "anchor")
			anchor, err := keyring.CreateAnchor(path, storeID, keyring.Position{})
			if err != nil {
				t.Fatal(err)
			}
			l := keyring.NewLive(sw, anchor, slog.New(slog.DiscardHandler), nil)
			if err := l.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if restarted {
				if anchor, err = keyring.OpenAnchor(path); err != nil {
					t.Fatal(err)
				}
				l = keyring.NewLive(sw, anchor, slog.New(slog.DiscardHandler), nil)
			}
			sw.Store = after
			if err := l.Refresh(t.Context()); !errors.Is(err, keyring.ErrRollback) {
				t.Errorf("%s, restarted %v: %v", name, restarted, err)
			}
			sw.Store = real
			if err := l.Refresh(t.Context()); !errors.Is(err, keyring.ErrRollback) {
				t.Errorf("%s: it forgot: %v", name, err)
			}
			if _, err := l.Current(); !errors.Is(err, keyring.ErrRollback) {
				t.Errorf("%s: it serves: %v", name, err)
			}
		}
	}
}

type switching struct{ keyring.Store }

func TestAnchorFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "anchor")
	if _, err := keyring.OpenAnchor(path); !errors.Is(err, keyring.ErrNoAnchor) {
		t.Errorf("no file: %v", err)
	}
	a, err := keyring.CreateAnchor(path, storeID, keyring.Position{Revision: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.CreateAnchor(path, storeID, keyring.Position{}); !errors.Is(err, keyring.ErrRefused) {
		t.Errorf("created twice: %v", err)
	}
	to := keyring.Position{Revision: 9, Digest: keyring.Digest{1, 2, 3}}
	if err := a.Raise(storeID, to); err != nil {
		t.Fatal(err)
	}
	if err := a.Raise(storeID, keyring.Position{Revision: 8}); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("lowered: %v", err)
	}
	if err := a.Raise(storeID, keyring.Position{Revision: 9}); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("another past at its own revision: %v", err)
	}
	if err := a.Raise("another", keyring.Position{Revision: 10}); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("another store's: %v", err)
	}
	if b, err := keyring.OpenAnchor(path); err != nil || b.Position() != to || b.Store() != storeID {
		t.Errorf("reopened at %v: %v", b, err)
	}
	// Another process raises it further; this one's next step must not take it down again.
	other, err := keyring.OpenAnchor(path)
	if err != nil {
		t.Fatal(err)
	}
	further := keyring.Position{Revision: 12, Digest: keyring.Digest{4}}
	if err := errors.Join(other.Raise(storeID, further), a.Raise(storeID, keyring.Position{Revision: 10, Digest: keyring.Digest{3}})); err != nil {
		t.Error(err)
	}
	if b, err := keyring.OpenAnchor(path); err != nil || b.Position() != further {
		t.Errorf("two processes left it at %v: %v", b.Position(), err)
	}
	if err := a.Raise(storeID, keyring.Position{Revision: 12, Digest: keyring.Digest{5}}); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("another past than the file's: %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) { // half-written at every byte
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.OpenAnchor(path); !errors.Is(err, keyring.ErrInvalid) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
	edited := strings.Replace(string(whole), "position 12", "position 11", 1)
	if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.OpenAnchor(path); !errors.Is(err, keyring.ErrInvalid) {
		t.Errorf("edited: %v", err)
	}
	if left, err := fs.Glob(os.DirFS(filepath.Dir(path)), "anchor.*"); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

func FuzzAnchor(f *testing.F) {
	dir := f.TempDir()
	if _, err := keyring.CreateAnchor(filepath.Join(dir, "a"), storeID, keyring.Position{Revision: 7}); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("intaglio anchor 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "b")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := keyring.OpenAnchor(path)
		if err != nil {
			return
		}
		again := filepath.Join(t.TempDir(), "c")
		if _, err := keyring.CreateAnchor(again, a.Store(), a.Position()); err != nil {
			t.Fatal(err)
		}
		if printed, err := os.ReadFile(again); err != nil || string(printed) != string(b) {
			t.Errorf("read %q, wrote %q: %v", b, printed, err)
		}
	})
}
