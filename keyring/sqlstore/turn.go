package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// moment is how long a cut lets the write in progress finish.
const moment = 100 * time.Millisecond

// errGaveWay is the cause of a write that a cut ended. It may just have been committed: its outcome is unknown.
var errGaveWay = errors.New("the write gave way to a cutoff")

// turn lets one write of this process at a time reach for the database's lock, and cutoffs before all others: while one
// is about, no write begins, and the one in progress is ended when it takes longer than a moment. Other processes are
// beyond its reach.
type turn struct {
	token chan struct{} // full while a write is in progress

	mu    sync.Mutex              // guards the rest
	stop  context.CancelCauseFunc // ends the write in progress
	cuts  int                     // raised now
	clear chan struct{}           // closed when the last of them is done
}

func newTurn() *turn { return &turn{token: make(chan struct{}, 1)} }

// take waits for the turn and returns the context that the write must use.
func (t *turn) take(ctx context.Context) (_ context.Context, release func(), err error) {
	select {
	case t.token <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("waiting for the turn to write: %w", ctx.Err())
	}
	for {
		t.mu.Lock()
		clear := t.clear
		if t.cuts == 0 {
			ctx, t.stop = context.WithCancelCause(ctx)
		}
		free := t.cuts == 0
		t.mu.Unlock()
		if free {
			return ctx, t.release, nil
		}
		select {
		case <-clear:
		case <-ctx.Done():
			<-t.token
			return nil, nil, fmt.Errorf("waiting for a cutoff: %w", ctx.Err())
		}
	}
}

func (t *turn) release() {
	t.mu.Lock()
	t.stop(nil)
	t.stop = nil
	t.mu.Unlock()
	<-t.token
}

// cut goes first. The caller calls done when its cutoff is raised.
func (t *turn) cut() (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cuts == 0 {
		t.clear = make(chan struct{})
	}
	t.cuts++
	hurry := time.AfterFunc(moment, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.stop != nil {
			t.stop(errGaveWay)
		}
	})
	return func() {
		hurry.Stop()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.cuts--
		if t.cuts == 0 {
			close(t.clear)
		}
	}
}
