package software

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/internal/jws"
)

// faulty is a storage whose calls can be held up or fail.
type faulty struct {
	backendtest.Storage
	afterGet func(ctx context.Context) // called between reading and returning
	before   func()                    // called before replacing or deleting
	fail     error
}

func (f *faulty) Get(ctx context.Context, label string) ([]byte, bool, error) {
	if f.fail != nil {
		return nil, false, f.fail
	}
	blob, ok, err := f.Storage.Get(ctx, label)
	if f.afterGet != nil {
		if f.afterGet(ctx); ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
	}
	return blob, ok, err
}

func (f *faulty) Replace(ctx context.Context, label string, old, new []byte) (bool, error) {
	if f.before != nil {
		f.before()
	}
	return f.Storage.Replace(ctx, label, old, new)
}

func (f *faulty) Delete(ctx context.Context, label string) error {
	if f.before != nil {
		f.before()
	}
	return f.Storage.Delete(ctx, label)
}

// TestNoResurrection holds up a Sign that has read the blob until Disable or Destroy has returned: the key it opens then must
// neither sign nor stay.
func TestNoResurrection(t *testing.T) {
	for name, end := range map[string]func(*Backend) error{
		"Disable": func(b *Backend) error { return b.Disable(t.Context(), "a") },
		"Destroy": func(b *Backend) error { return b.Destroy(t.Context(), "a") },
	} {
		t.Run(name, func(t *testing.T) {
			s, kek := &faulty{}, NewKEK(noon)
			b := open(t, s, kek)
			m := mint(t, b, "a", jws.ES256)
			read, ended := make(chan struct{}), make(chan struct{})
			first := true
			s.afterGet = func(context.Context) {
				if first { // the reads of Disable and of the second look pass
					first = false
					close(read)
					<-ended
				}
			}
			result := make(chan error)
			go func() {
				sig, err := b.Sign(t.Context(), m.Ref, jws.ES256, []byte("x"))
				if err == nil {
					err = fmt.Errorf("it signed, %d bytes", len(sig))
				}
				result <- err
			}()
			<-read
			if err := end(b); err != nil {
				t.Fatal(err)
			}
			close(ended)
			for _, err := range []error{<-result, func() error { _, err := b.Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); return err }()} {
				if !errors.Is(err, backends.ErrKeyNotFound) && !errors.Is(err, backends.ErrDisabled) {
					t.Errorf("after %s: %v", name, err)
				}
			}
			if _, ok := b.open.Load("a"); ok {
				t.Error("the key stayed in memory")
			}
		})
	}
}

// TestNoReturn opens the key again while Disable or Destroy is at work, after it dropped the key and before the storage knows:
// that call still signs, and what it opened must be gone when Disable or Destroy has returned.
func TestNoReturn(t *testing.T) {
	for name, end := range map[string]func(*Backend) error{
		"Disable": func(b *Backend) error { return b.Disable(t.Context(), "a") },
		"Destroy": func(b *Backend) error { return b.Destroy(t.Context(), "a") },
	} {
		s := &faulty{}
		b := open(t, s, NewKEK(noon))
		m := mint(t, b, "a", jws.ES256)
		sign := func() error { _, err := b.Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); return err }
		s.before = func() {
			if err := sign(); err != nil {
				t.Errorf("during %s: %v", name, err)
			}
		}
		if err := end(b); err != nil {
			t.Fatal(err)
		}
		if err := sign(); !errors.Is(err, backends.ErrKeyNotFound) && !errors.Is(err, backends.ErrDisabled) {
			t.Errorf("after %s: %v", name, err)
		}
		if _, ok := b.open.Load("a"); ok {
			t.Errorf("after %s the key is in memory", name)
		}
	}
}

// TestDisableWhileRewrapping moves the key to another KEK between the read and the write of Disable: it must look again.
func TestDisableWhileRewrapping(t *testing.T) {
	s, old, young := &faulty{}, NewKEK(noon), NewKEK(noon.Add(time.Hour))
	m := mint(t, open(t, s, old), "a", jws.ES256)
	b, other := open(t, s, old, young), open(t, &s.Storage, old, young)
	rewrapped := 0
	s.before = func() {
		moved, _, err := other.Rewrap(t.Context(), nil)
		if err != nil {
			t.Error(err)
		}
		rewrapped += moved
	}
	if err := b.Disable(t.Context(), "a"); err != nil || rewrapped != 1 {
		t.Errorf("Disable: %v, with %d rewrapped meanwhile", err, rewrapped)
	}
	if _, err := other.Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); !errors.Is(err, backends.ErrDisabled) {
		t.Errorf("after Disable: %v, want ErrDisabled", err)
	}
}

// TestDisableWithoutKEK: stopping a key does not need what it takes to use it, and what is damaged does not stand in the way.
func TestDisableWithoutKEK(t *testing.T) {
	s, kek, lost := &backendtest.Storage{}, NewKEK(noon), NewKEK(noon.Add(time.Second))
	mint(t, open(t, s, kek), "kept", jws.ES256)
	m := mint(t, open(t, s, kek, lost), "a", jws.ES256)
	put(t, s, "damaged", []byte("not a sealed key"))
	b := open(t, s, kek)
	for _, label := range []string{"a", "damaged"} {
		if err := b.Disable(t.Context(), label); err != nil {
			t.Errorf("disabling %s: %v", label, err)
		}
	}
	if _, err := open(t, s, kek, lost).Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); !errors.Is(err, backends.ErrDisabled) {
		t.Errorf("with the KEK back: %v, want ErrDisabled", err)
	}
}

// TestOpenedByOne is TestOpenedOnce without a schedule: callers that ask at the same moment share one reading too.
func TestOpenedByOne(t *testing.T) {
	s, kek := &faulty{}, NewKEK(noon)
	m := mint(t, open(t, s, kek), "a", jws.ES256)
	for range 300 {
		b := open(t, s, kek)
		var reads atomic.Int64
		s.afterGet = func(context.Context) { reads.Add(1) }
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			all.Go(func() {
				<-start
				if _, err := b.Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		all.Wait()
		if reads.Load() != 1 {
			t.Fatalf("%d reads of the storage, want 1", reads.Load())
		}
		s.afterGet = nil
	}
}

// TestOpenedOnce lets 16 callers ask for a key that is not open: one reads the storage, and others' keys do not wait for it.
func TestOpenedOnce(t *testing.T) {
	s, kek := &faulty{}, NewKEK(noon)
	b := open(t, s, kek)
	slow, other := mint(t, b, "slow", jws.ES256), mint(t, b, "other", jws.ES256)
	if _, err := b.Sign(t.Context(), other.Ref, jws.ES256, []byte("x")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		reads, release := 0, make(chan struct{})
		s.afterGet = func(context.Context) { reads++; <-release }
		results := make(chan error, 16)
		for range cap(results) {
			go func() {
				_, err := b.Sign(context.Background(), slow.Ref, jws.ES256, []byte("x"))
				results <- err
			}()
		}
		synctest.Wait()
		if _, err := b.Sign(context.Background(), other.Ref, jws.ES256, []byte("x")); err != nil {
			t.Error(err)
		}
		impatient, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := b.Sign(impatient, slow.Ref, jws.ES256, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a slow storage: %v, want DeadlineExceeded", err)
		}
		close(release)
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if reads != 1 {
			t.Errorf("%d reads of the storage, want 1", reads)
		}
	})
}

// TestOpenerLeaves cancels the one caller that is opening a key: the others, who are still there, must get their signatures.
func TestOpenerLeaves(t *testing.T) {
	s, kek := &faulty{}, NewKEK(noon)
	b := open(t, s, kek)
	m := mint(t, b, "a", jws.ES256)
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		s.afterGet = func(ctx context.Context) {
			if reads++; reads == 1 {
				<-ctx.Done()
			}
		}
		leaving, leave := context.WithCancel(context.Background())
		first, rest := make(chan error, 1), make(chan error, 4)
		go func() {
			_, err := b.Sign(leaving, m.Ref, jws.ES256, []byte("x"))
			first <- err
		}()
		synctest.Wait()
		for range cap(rest) {
			go func() {
				_, err := b.Sign(context.Background(), m.Ref, jws.ES256, []byte("x"))
				rest <- err
			}()
		}
		synctest.Wait()
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) || errors.Is(err, backends.ErrUnavailable) {
			t.Errorf("the one who left: %v, want Canceled and nothing said about the storage", err)
		}
		for range cap(rest) {
			if err := <-rest; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestStorageFails checks that a storage that does not answer is named as that, comes to an end, and leaves nothing behind.
func TestStorageFails(t *testing.T) {
	s, kek := &faulty{}, NewKEK(noon)
	b := open(t, s, kek)
	m := mint(t, b, "a", jws.ES256)
	for _, fail := range []error{errors.New("disk full"), context.DeadlineExceeded} { // the storage's own deadline, not ours
		s.fail = fail
		_, sign := b.Sign(t.Context(), m.Ref, jws.ES256, []byte("x"))
		_, minted := b.Mint(t.Context(), "b", jws.ES256)
		_, _, rewrap := b.Rewrap(t.Context(), nil)
		for name, err := range map[string]error{"Sign": sign, "Mint": minted, "Rewrap": rewrap, "Disable": b.Disable(t.Context(), "a")} {
			if !errors.Is(err, backends.ErrUnavailable) || !errors.Is(err, fail) {
				t.Errorf("%s: %v, want ErrUnavailable and its cause", name, err)
			}
		}
	}
	s.fail = nil
	if _, err := b.Sign(t.Context(), m.Ref, jws.ES256, []byte("x")); err != nil {
		t.Error(err)
	}
}

// TestIdleKeysLeaveMemory opens a key, waits, and opens another.
func TestIdleKeysLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &backendtest.Storage{}, NewKEK(noon))
		var refs []string
		sign := func(i int) {
			t.Helper()
			if _, err := b.Sign(context.Background(), refs[i], jws.ES256, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		for _, label := range []string{"idle", "busy", "new"} {
			refs = append(refs, mint(t, b, label, jws.ES256).Ref)
		}
		sign(0)
		sign(1)
		time.Sleep(keepIdle)
		sign(1)
		time.Sleep(2 * time.Second)
		sign(2)
		for label, want := range map[string]bool{"idle": false, "busy": true, "new": true} {
			if _, ok := b.open.Load(label); ok != want {
				t.Errorf("key %s is open: %v, want %v", label, ok, want)
			}
		}
		sign(0) // and comes back when it is asked for
	})
}
