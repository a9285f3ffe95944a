package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"intaglio.example/keyring"
)

// increment reads a counter from a ring's label and tries to write the next number.
func (f *fixture) increment() (keyring.Position, error) {
	c, err := f.store.Changes(f.Context(), keyring.Position{})
	if err != nil {
		return keyring.Position{}, err
	}
	ring := c.Rings[0]
	n, _ := strconv.Atoi(ring.Labels["n"])
	ring.Labels = map[string]string{"n": strconv.Itoa(n + 1)}
	return f.store.Swap(f.Context(), c.Position, keyring.Edit{Rings: []keyring.Ring{ring}})
}

func (f *fixture) count() int {
	f.Helper()
	n, _ := strconv.Atoi(f.ring("acme/access").Labels["n"])
	return n
}

func testConcurrentIncrements(f *fixture) {
	const writers, each = 8, 4
	begin := f.acme(Ring("acme/access"))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				_, err := f.increment()
				if err == nil {
					done++
				} else if !errors.Is(err, keyring.ErrConflict) {
					f.Errorf("Swap: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := f.count(); n != writers*each {
		f.Errorf("%d increments succeeded, the counter says %d", writers*each, n)
	}
	if at := f.all().Position; at.Revision != begin.Revision+writers*each {
		f.Errorf("%d writes took the revision from %d to %d", writers*each, begin.Revision, at.Revision)
	}
}

// testLinearizable: a read that begins after a write has returned sees it, and no read goes back.
func testLinearizable(f *fixture) {
	f.acme(Ring("acme/access"))
	var confirmed atomic.Uint64 // the highest revision that a write has returned
	var writers, readers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for done := 0; done < 15; {
				at, err := f.increment()
				if errors.Is(err, keyring.ErrConflict) {
					continue
				}
				if err != nil {
					f.Errorf("Swap: %v", err)
					return
				}
				for old := confirmed.Load(); old < uint64(at.Revision) && !confirmed.CompareAndSwap(old, uint64(at.Revision)); old = confirmed.Load() {
				}
				done++
			}
		})
	}
	var finished atomic.Bool
	for range 2 {
		readers.Go(func() {
			var last keyring.Position
			for !finished.Load() {
				atLeast := keyring.Revision(confirmed.Load())
				c, err := f.store.Changes(f.Context(), last)
				if err != nil || c.Position.Revision < atLeast || c.Position.Revision < last.Revision {
					f.Errorf("a read after %d was confirmed and %d was read: %d, %v", atLeast, last.Revision, c.Position.Revision, err)
					return
				}
				last = c.Position
			}
		})
	}
	writers.Wait()
	finished.Store(true)
	readers.Wait()
}

// testCutsAmongSwaps raises cutoffs while others write as fast as they can.
func testCutsAmongSwaps(f *fixture) {
	f.acme(Ring("acme/access"))
	var finished atomic.Bool
	var succeeded atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !finished.Load() {
				if _, err := f.increment(); err == nil {
					succeeded.Add(1)
				}
			}
		})
	}
	const cuts = 20
	var last keyring.Position
	for i := range cuts {
		at, err := f.store.Cut(f.Context(), cutoff(fmt.Sprintf("op-%d", i)))
		if err != nil || at.Revision <= last.Revision {
			f.Errorf("cut %d: %v after %v, %v", i, at, last, err)
		}
		last = at
	}
	finished.Store(true)
	wg.Wait()
	c := f.all()
	if len(c.Cutoffs) != cuts {
		f.Errorf("%d cuts left %d cutoffs", cuts, len(c.Cutoffs))
	}
	if n := int64(f.count()); n < succeeded.Load() {
		f.Errorf("%d increments succeeded, the counter says %d", succeeded.Load(), n)
	}
}
