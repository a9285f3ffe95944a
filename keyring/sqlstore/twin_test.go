package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
	"pgregory.net/rapid"
)

// twin is this store and the one in memory, which must answer everything alike.
type twin struct {
	*Store
	t      *testing.T
	memory *storetest.Memory

	mu sync.Mutex                            // guards at
	at map[keyring.Position]keyring.Position // positions of this store, and the other's at the same moment
}

func newTwin(t *testing.T) keyring.Store {
	w := &twin{Store: mustInit(t, keyring.Edit{}).open(t), t: t, memory: storetest.NewMemory(testID, keyring.DefaultTiming()), at: map[keyring.Position]keyring.Position{}}
	if _, err := w.Changes(t.Context(), keyring.Position{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// meet notes that two answers stand for one position, if neither is an error.
func (w *twin) meet(a keyring.Position, aErr error, b keyring.Position, bErr error) {
	for _, class := range []error{keyring.ErrConflict, keyring.ErrInvalid, keyring.ErrRefused, keyring.ErrKidKnown, keyring.ErrRollback} {
		if errors.Is(aErr, class) != errors.Is(bErr, class) {
			w.t.Errorf("one says %v, the other %v", aErr, bErr)
		}
	}
	if (aErr == nil) != (bErr == nil) || a.Revision != b.Revision {
		w.t.Errorf("one says %v, %v, the other %v, %v", a, aErr, b, bErr)
	}
	if known, ok := w.at[a]; ok && known != b {
		w.t.Errorf("%v was %v before and is now %v", a, known, b)
	}
	w.at[a] = b
}

func (w *twin) Changes(ctx context.Context, since keyring.Position) (keyring.Changes, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, aErr := w.Store.Changes(ctx, since)
	b, bErr := w.memory.Changes(ctx, w.at[since])
	w.meet(a.Position, aErr, b.Position, bErr)
	b.Position = a.Position
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) { // nil and empty slices print alike
		w.t.Errorf("since %v they hold different things", since)
	}
	return a, aErr
}

func (w *twin) Swap(ctx context.Context, asOf keyring.Position, e keyring.Edit) (keyring.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, aErr := w.Store.Swap(ctx, asOf, e)
	b, bErr := w.memory.Swap(ctx, w.at[asOf], e)
	w.meet(a, aErr, b, bErr)
	return a, aErr
}

func (w *twin) Cut(ctx context.Context, c keyring.Cutoff) (keyring.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, aErr := w.Store.Cut(ctx, c)
	b, bErr := w.memory.Cut(ctx, c)
	w.meet(a, aErr, b, bErr)
	return a, aErr
}

func TestTwins(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		history := rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(rt, "history")
		if !t.Run("history", func(t *testing.T) { storetest.DeltasAddUp(t, newTwin, history) }) {
			rt.Fatalf("after %v", history)
		}
	})
}
