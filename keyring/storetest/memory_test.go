package storetest_test

import (
	"errors"
	"testing"

	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
	"pgregory.net/rapid"
)

func TestMemoryFailsOnEitherSide(t *testing.T) {
	m := storetest.NewMemory("6f1d0c6a5e2b9a01", keyring.DefaultTiming())
	broken := errors.New("broken")
	cut := keyring.Cutoff{Operation: "op-1", Reach: keyring.Reach{Kind: keyring.All}, Reason: "drill"}

	m.Before = func(op string) error { return broken }
	if at, err := m.Cut(t.Context(), cut); !errors.Is(err, broken) || at != (keyring.Position{}) {
		t.Fatalf("Cut that fails before = %v, %v", at, err)
	}
	m.Before = nil
	if c, err := m.Changes(t.Context(), keyring.Position{}); err != nil || len(c.Cutoffs) != 0 {
		t.Fatalf("a Cut that failed before raised %v, %v", c.Cutoffs, err)
	}

	m.After = func(op string) error {
		if op == storetest.OpCut {
			return broken
		}
		return nil
	}
	if at, err := m.Cut(t.Context(), cut); !errors.Is(err, broken) || at != (keyring.Position{}) {
		t.Fatalf("Cut that fails after = %v, %v", at, err)
	}
	if c, err := m.Changes(t.Context(), keyring.Position{}); err != nil || len(c.Cutoffs) != 1 {
		t.Fatalf("a Cut that failed after raised %v, %v", c.Cutoffs, err)
	}
}

func TestMemory(t *testing.T) {
	storetest.Run(t, newMemory)
}

func newMemory(*testing.T) keyring.Store {
	return storetest.NewMemory("6f1d0c6a5e2b9a01", keyring.DefaultTiming())
}

func TestDeltasOfAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		history := rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(rt, "history")
		if !t.Run("history", func(t *testing.T) { storetest.DeltasAddUp(t, newMemory, history) }) {
			rt.Fatalf("after %v", history)
		}
	})
}

func TestMemoryIsInitialisedOnPurpose(t *testing.T) {
	m := new(storetest.Memory)
	storetest.NotInitialised(t, func() (keyring.Store, error) { return m, nil })
}
