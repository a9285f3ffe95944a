package backendtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"intaglio.example/backends"
)

// testSignConcurrently signs with several keys at once and checks that none answers for another.
func testSignConcurrently(t *testing.T, f *run) {
	var keys [3]backends.Minted
	for i := range keys {
		keys[i] = f.mint(f.Backend, f.label(), f.Algs[i%min(2, len(f.Algs))])
	}
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			m := keys[i%len(keys)]
			for j := range 5 {
				input := append([]byte{byte(i), byte(j)}, input...)
				sig, err := f.Backend.Sign(t.Context(), m.Ref, m.Public.Alg(), input)
				if err == nil {
					err = m.Public.Verify(input, sig)
				}
				if err != nil {
					t.Errorf("signing with %s: %v", m.Ref, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func testDisable(t *testing.T, f *run) {
	alg := f.Algs[0]
	label := f.label()
	for range 2 {
		if err := f.Backend.Disable(t.Context(), f.label()); err != nil {
			t.Errorf("disabling what was never minted: %v", err)
		}
	}
	fresh := f.mint(f.Backend, f.label(), alg) // one that never signed
	m, other := f.mint(f.Backend, label, alg), f.mint(f.Backend, f.label(), alg)
	f.signs(f.Backend, m, input)
	for range 2 {
		if err := f.Backend.Disable(t.Context(), label); err != nil {
			t.Fatalf("Disable: %v", err)
		}
		f.refuses(f.Backend, m.Ref, alg, backends.ErrDisabled, backends.ErrKeyNotFound)
	}
	if again, err := f.Backend.Mint(t.Context(), label, alg); !errors.Is(err, backends.ErrDisabled) {
		t.Errorf("Mint over a disabled key: %v, %v; want ErrDisabled", again.Public, err)
	}
	f.refuses(f.Backend, m.Ref, alg, backends.ErrDisabled, backends.ErrKeyNotFound)
	if f.Restart != nil {
		f.refuses(f.Restart(t), m.Ref, alg, backends.ErrDisabled, backends.ErrKeyNotFound)
	}
	f.signs(f.Backend, other, input)
	f.signs(f.Backend, fresh, input)
}

func testDestroy(t *testing.T, f *run) {
	alg := f.Algs[0]
	for range 2 {
		if err := f.Backend.Destroy(t.Context(), f.label()); err != nil {
			t.Errorf("destroying what was never minted: %v", err)
		}
	}
	other := f.mint(f.Backend, f.label(), alg)
	for _, before := range []string{"nothing", "sign", "disable"} {
		label := f.label()
		m := f.mint(f.Backend, label, alg)
		switch before {
		case "sign":
			f.signs(f.Backend, m, input)
		case "disable":
			if err := f.Backend.Disable(t.Context(), label); err != nil {
				t.Fatalf("Disable: %v", err)
			}
		}
		for range 2 {
			if err := f.Backend.Destroy(t.Context(), label); err != nil {
				t.Fatalf("Destroy after %s: %v", before, err)
			}
			f.refuses(f.Backend, m.Ref, alg, backends.ErrKeyNotFound)
		}
		if err := f.Backend.Disable(t.Context(), label); err != nil {
			t.Errorf("disabling what is destroyed: %v", err)
		}
		if f.Restart != nil {
			f.refuses(f.Restart(t), m.Ref, alg, backends.ErrKeyNotFound)
		}
		// Minting again may fail or make another key; the old one is gone for good.
		if again, err := f.Backend.Mint(t.Context(), label, alg); err == nil && again.Public.Equal(m.Public) {
			t.Errorf("after %s and Destroy, Mint brought the key back", before)
		}
		f.refuses(f.Backend, m.Ref, alg, backends.ErrKeyNotFound)
	}
	f.signs(f.Backend, other, input)
}

// testDestroyWhileSigning destroys a key that is signing in several goroutines: whatever a call that began before returns must
// verify, and no call that began after may return anything.
func testDestroyWhileSigning(t *testing.T, f *run) {
	alg := f.Algs[0]
	for round := range 8 {
		label := f.label()
		m := f.mint(f.Backend, label, alg)
		if round%2 == 0 {
			f.signs(f.Backend, m, input) // else destruction races with the first use
		}
		var destroyed atomic.Bool
		var signers sync.WaitGroup
		started := make(chan struct{}, 4)
		for range cap(started) {
			signers.Go(func() {
				started <- struct{}{}
				for {
					after := destroyed.Load()
					sig, err := f.Backend.Sign(t.Context(), m.Ref, alg, input)
					switch {
					case err == nil && after:
						t.Error("a destroyed key signed")
						return
					case err == nil && m.Public.Verify(input, sig) != nil:
						t.Error("a wrong signature while the key was being destroyed")
						return
					case err != nil:
						isOneOf(t, err, backends.ErrKeyNotFound)
					}
					if after {
						return
					}
				}
			})
		}
		<-started
		err := f.Backend.Destroy(t.Context(), label)
		destroyed.Store(true)
		signers.Wait()
		if err != nil {
			t.Fatalf("Destroy: %v", err)
		}
		f.refuses(f.Backend, m.Ref, alg, backends.ErrKeyNotFound)
	}
}

// testRestart checks that keys outlive the process that minted them, and that a second process sees the same ones.
func testRestart(t *testing.T, f *run) {
	if f.Restart == nil {
		t.Log("the fixture cannot restart")
		return
	}
	for _, alg := range f.Algs {
		label := f.label()
		m := f.mint(f.Backend, label, alg)
		again := f.Restart(t)
		f.signs(again, m, input)
		f.same(m, f.mint(again, label, alg))
		f.signs(f.Backend, m, input)
	}
}

// testContexts checks that a call whose context is done returns at once with its error, and leaves everything as it was.
func testContexts(t *testing.T, f *run) {
	alg := f.Algs[len(f.Algs)-1]
	label, never := f.label(), f.label()
	m := f.mint(f.Backend, label, alg)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, ctx := range []context.Context{cancelled, late} {
		calls := map[string]func() error{
			"Mint":    func() error { _, err := f.Backend.Mint(ctx, never, alg); return err },
			"Sign":    func() error { _, err := f.Backend.Sign(ctx, m.Ref, alg, input); return err },
			"Disable": func() error { return f.Backend.Disable(ctx, label) },
			"Destroy": func() error { return f.Backend.Destroy(ctx, label) },
		}
		for name, call := range calls {
			start := time.Now()
			if err := call(); !errors.Is(err, ctx.Err()) {
				t.Errorf("%s after the context was done: %v, want %v", name, err, ctx.Err())
			}
			if took := time.Since(start); took > f.Prompt {
				t.Errorf("%s returned %v after its context was done", name, took)
			}
		}
	}
	f.signs(f.Backend, m, input)
	// Minting is what takes long, above all for RSA.
	for _, alg := range f.Algs {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		start := time.Now()
		label := f.label()
		minted, err := f.Backend.Mint(ctx, label, alg)
		cancel()
		if took := time.Since(start); took > f.Prompt {
			t.Errorf("Mint for %s returned %v after its context was done", alg, took)
		}
		if err == nil {
			f.signs(f.Backend, minted, input)
		} else {
			isOneOf(t, err, context.DeadlineExceeded)
		}
	}
}

// testNothingPrints formats the backend in every way there is, by itself and inside other people's structs, and what it returns
// and its errors too, and looks for private keys in what comes out.
func testNothingPrints(t *testing.T, f *run) {
	var secrets [][]byte
	var printed struct {
		b      backends.Backend
		minted []backends.Minted
		errs   []error
	}
	printed.b = f.Backend
	for _, alg := range f.Algs {
		label := f.label()
		m := f.mint(f.Backend, label, alg)
		f.signs(f.Backend, m, input)
		if f.Secrets != nil {
			known := f.Secrets(t, label)
			if len(known) == 0 {
				t.Fatalf("%s: the fixture knows no secrets of the key it minted", alg)
			}
			secrets = append(secrets, known...)
		}
		_, wrongAlg := f.Backend.Mint(t.Context(), label, "none")
		_, wrongRef := f.Backend.Sign(t.Context(), m.Ref+"x", alg, input)
		printed.minted, printed.errs = append(printed.minted, m), append(printed.errs, wrongAlg, wrongRef)
	}
	NoLeaks(t, secrets, f.Backend, printed)
}
