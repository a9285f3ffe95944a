package software

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"intaglio.example/backends"
)

// keepIdle is how long an open key that does not sign stays in memory. Keys are opened when they first sign, so what is in memory
// is at most what signed within this time and a minute: about one key per ring.
const keepIdle = time.Hour

// An entry is a key that is open, or being opened. It enters Backend.open before its blob is read: whoever drops a
// label after changing what is stored under it therefore finds every entry that could hold what was there before.
type entry struct {
	pair    atomic.Pointer[pair] // nil until the key is open
	dropped atomic.Bool          // disabled or destroyed since the entry was made
	used    atomic.Int64         // when it last signed, in seconds since 1970
	done    chan struct{}        // closed when pair or err is set
	err     error                // why it did not open
	left    bool                 // ... because the one who opened it did not wait for it
}

// pair returns the key under label, opening it if need be: once, for all who ask at the same time. Whoever finds it open takes no
// lock and waits for nothing.
func (b *Backend) pair(ctx context.Context, label string) (*pair, error) {
	for {
		found, _ := b.open.Load(label)
		e, ok := found.(*entry)
		if !ok {
			fresh := &entry{done: make(chan struct{})}
			found, ok = b.open.LoadOrStore(label, fresh)
			if e = found.(*entry); !ok {
				b.fill(ctx, label, e)
			}
		}
		p := e.pair.Load()
		if p == nil {
			select {
			case <-e.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			p = e.pair.Load()
		}
		switch {
		case e.dropped.Load(): // while we waited: see what is stored now
		case p != nil:
			e.touch()
			return p, nil
		case e.left && ctx.Err() == nil: // we are still here
		default:
			return nil, e.err
		}
	}
}

// fill opens the key of e, an entry just stored, and takes it out again when that fails.
func (b *Backend) fill(ctx context.Context, label string, e *entry) {
	defer close(e.done)
	p, err := b.read(ctx, label)
	if err != nil {
		e.err, e.left = err, ctx.Err() != nil
		b.open.CompareAndDelete(label, e)
		return
	}
	e.touch()
	e.pair.Store(p)
	b.sweep(time.Now())
}

func (b *Backend) read(ctx context.Context, label string) (*pair, error) {
	data, ok, err := b.sealed.Get(ctx, label)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w under its label", backends.ErrKeyNotFound)
	}
	return b.unseal(label, data)
}

// touch writes at most once a second, so that signers do not pass one cache line around.
func (e *entry) touch() {
	if now := time.Now().Unix(); e.used.Load() != now {
		e.used.Store(now)
	}
}

// drop forgets the key under label, also for those who are waiting for it to open.
func (b *Backend) drop(label string) {
	if found, ok := b.open.LoadAndDelete(label); ok {
		found.(*entry).dropped.Store(true)
	}
}

// sweep forgets the keys that have been idle, at most once a minute. It needs no goroutine: a key that is replaced by
// another goes idle just when the other one is opened.
func (b *Backend) sweep(now time.Time) {
	last := b.swept.Load()
	if now.Unix()-last < 60 || !b.swept.CompareAndSwap(last, now.Unix()) {
		return
	}
	b.open.Range(func(label, found any) bool {
		if e := found.(*entry); e.pair.Load() != nil && now.Unix()-e.used.Load() > int64(keepIdle/time.Second) {
			b.open.CompareAndDelete(label, e)
		}
		return true
	})
}
