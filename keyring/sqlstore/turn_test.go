package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"intaglio.example/keyring"
)

// TestCutEndsAStuckWrite: a write of this process that holds the database's lock and does not come back holds no cut up.
func TestCutEndsAStuckWrite(t *testing.T) {
	s := mustInit(t, benchmarkRings(1)).open(t)
	before := everything(t, s)
	stuck := make(chan error)
	holding := make(chan struct{})
	go func() {
		stuck <- s.write(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE records SET body = x'00'`)
			close(holding)
			<-ctx.Done() // never, by itself
			return err
		})
	}()
	<-holding
	start := time.Now()
	at, err := s.Cut(t.Context(), cutoff("op-1", "acme/r0"))
	if took := time.Since(start); err != nil || took > moment+time.Second {
		t.Fatalf("Cut: %v, %v after %v", at, err, took)
	}
	if err := <-stuck; !errors.Is(err, errGaveWay) {
		t.Errorf("the stuck write: %v, want errGaveWay", err)
	}
	c, err := s.Changes(t.Context(), keyring.Position{})
	if err != nil || c.Position != at || c.Position.Revision != before.Position.Revision+1 || len(c.Cutoffs) != 1 {
		t.Errorf("afterwards the store holds %+v, %v", c, err)
	}
	if _, err := s.Swap(t.Context(), at, keyring.Edit{Rings: c.Rings}); err != nil {
		t.Errorf("writing goes on: %v", err)
	}
}

// TestCutGoesFirst: however many writes wait, a cut does not wait behind them.
func TestCutGoesFirst(t *testing.T) {
	s := mustInit(t, benchmarkRings(1)).open(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
					time.Sleep(20 * time.Millisecond) // while it holds the lock
					return nil
				})
			}
		})
	}
	var worst time.Duration
	for i := range 5 {
		start := time.Now()
		if _, err := s.Cut(t.Context(), cutoff(fmt.Sprint("op-", i), "acme/r0")); err != nil {
			t.Error(err)
		}
		worst = max(worst, time.Since(start))
	}
	cancel()
	wg.Wait()
	if worst > time.Second { // 100 writes take two
		t.Errorf("the slowest cut took %v", worst)
	}
}

// TestAnotherProcess stands for a process that holds the lock, which nobody here can end.
func TestAnotherProcess(t *testing.T) {
	m := mustInit(t, benchmarkRings(1))
	s, other := m.open(t), m.open(t)
	c := everything(t, s)
	tx, err := other.writer.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Swap(ctx, c.Position, keyring.Edit{Rings: c.Rings}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Swap: %v, want the context's error", err)
	}
	start := time.Now()
	if _, err := s.Cut(t.Context(), cutoff("op-1", "acme/r0")); err == nil || !strings.Contains(err.Error(), "the database is held by another process") {
		t.Errorf("Cut: %v", err)
	}
	if took := time.Since(start); took > 2*brakeWait*time.Millisecond {
		t.Errorf("Cut gave up after %v", took)
	}
	if _, err := s.Changes(t.Context(), keyring.Position{}); err != nil {
		t.Errorf("reading meanwhile: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cut(t.Context(), cutoff("op-1", "acme/r0")); err != nil {
		t.Errorf("Cut once the lock is free: %v", err)
	}
}

// TestWaitingForATurn: the caller's patience is the caller's.
func TestWaitingForATurn(t *testing.T) {
	turns := newTurn()
	_, release, err := turns.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := turns.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for another write: %v", err)
	}
	release()
	done := turns.cut()
	if _, _, err := turns.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a cut: %v", err)
	}
	done()
	if _, release, err = turns.take(t.Context()); err != nil {
		t.Fatalf("nobody is in the way: %v", err)
	}
	release()
}
