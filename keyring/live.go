package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A Live keeps a replica's snapshot as young as the store allows, and says when the replica must stop.
// All methods are safe for concurrent use; Current takes no lock and never waits.
type Live struct {
	store  Store
	anchor *Anchor
	log    *slog.Logger
	now    func() time.Time
	born   time.Time

	current atomic.Pointer[Snapshot]
	refused atomic.Pointer[error] // set once, for good: the store's past is not ours

	refreshing chan struct{} // holds a token while a refresh runs: a replica never refreshes twice at once
	changed    chan struct{}
}

// NewLive returns a Live without a snapshot: call Refresh, then Run. The clock is time.Now unless now is given.
func NewLive(store Store, anchor *Anchor, log *slog.Logger, now func() time.Time) *Live {
	if now == nil {
		now = time.Now
	}
	return &Live{store: store, anchor: anchor, log: log, now: now, born: now(), refreshing: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// Current returns the replica's snapshot while it is fresh: ErrStale when it is too old or there is none,
// ErrRollback or ErrTampered, until the process ends, once the store has shown another past.
func (l *Live) Current() (*Snapshot, error) {
	if err := l.refused.Load(); err != nil {
		return nil, *err
	}
	s := l.current.Load()
	if s == nil {
		return nil, fmt.Errorf("%w: nothing was read yet", ErrStale)
	}
	if age := l.instant().since(s.asked); age >= s.Timing.SnapshotTTL {
		return nil, fmt.Errorf("%w: %v old, good for %v", ErrStale, age.Round(time.Millisecond), s.Timing.SnapshotTTL)
	}
	return s, nil
}

// Changed receives after the snapshot's position moved: a level, not a queue, for one reader.
func (l *Live) Changed() <-chan struct{} { return l.changed }

// Refresh reads what changed in the store and installs it, then raises the anchor. When it returns nil, everything
// written before it was called is installed here and is known to the anchor. It waits for another refresh, as long as ctx
// lets it.
func (l *Live) Refresh(ctx context.Context) error {
	select {
	case l.refreshing <- struct{}{}:
		defer func() { <-l.refreshing }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for another refresh: %w", ctx.Err())
	}
	if err := l.refused.Load(); err != nil {
		return *err
	}
	asked := l.instant()
	old, since := l.current.Load(), l.anchor.Position()
	if old != nil {
		since = old.Position
	}
	next, err := l.read(ctx, old, since, asked)
	if errors.Is(err, ErrRollback) || errors.Is(err, ErrTampered) || errors.Is(err, ErrNewerSchema) {
		l.refused.Store(&err)
		l.current.Store(nil)
		l.log.Error("refusing to serve: the store cannot be trusted", "error", err, "seen", since.Revision)
	}
	if err != nil {
		return err
	}
	l.current.Store(next)
	if old == nil || next.Position != old.Position {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
	return l.anchor.Raise(next.Store, next.Position)
}

// read asks the store, first whether its history contains since when that is the anchor's word, and builds the next snapshot.
func (l *Live) read(ctx context.Context, old *Snapshot, since Position, asked instant) (*Snapshot, error) {
	if old == nil {
		if _, err := l.store.Changes(ctx, since); err != nil {
			return nil, err
		}
		since, old = Position{}, &Snapshot{}
	}
	c, err := l.store.Changes(ctx, since)
	if err != nil {
		return nil, err
	}
	if id := l.anchor.Store(); id != c.Store {
		return nil, fmt.Errorf("%w: this is store %s, the anchor belongs to store %s", ErrRollback, c.Store, id)
	}
	return old.with(c, asked)
}

// Run refreshes every interval until ctx ends. A failed refresh is logged and tried again: the snapshot it leaves
// behind grows stale by itself.
func (l *Live) Run(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		attempt, cancel := context.WithTimeout(ctx, max(interval, time.Second))
		if err := l.Refresh(attempt); err != nil && ctx.Err() == nil {
			l.log.Warn("cannot refresh the snapshot", "error", err)
		}
		cancel()
	}
}
