package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"intaglio.example/keyring"
)

// Store is what the suite asks for: the contract, and the two questions about keys of the past that every store answers.
type Store interface {
	keyring.Store
	// KeyByKid returns the ID of the key that kid was ever recorded under, the archive included.
	KeyByKid(ctx context.Context, kid string) (id string, ok bool, err error)
	// Archived returns the keys that left a ring, by serial.
	Archived(ctx context.Context, ring string) ([]keyring.Key, error)
}

// Run holds a store to the contract. Each call of open returns another initialised store without rows, made with
// [keyring.DefaultTiming], and closes it when its test ends. The store must be a [Store].
func Run(t *testing.T, open func(t *testing.T) keyring.Store) {
	tests := []struct {
		name string
		run  func(f *fixture)
	}{
		{"a new store is empty", testEmpty},
		{"a cancelled call does nothing", testCancelled},
		{"what is written is read", testReadBack},
		{"what is read is a copy", testReadsAreCopies},
		{"stamps", testStamps},
		{"validation", testValidation},
		{"a row twice in one edit", testTwice},
		{"a ring needs its issuer", testIssuerOfRing},
		{"issuer URLs", testIssuerURLs},
		{"refusals of Advance", testAdvanceRefuses},
		{"all or none", testAllOrNone},
		{"conflict with a row", testRowConflict},
		{"conflict with a cutoff", testCutoffConflict},
		{"no conflict with a cutoff elsewhere", testForeignCutoff},
		{"a cut never conflicts", testCutNeverConflicts},
		{"a cut is idempotent by operation", testCutIdempotent},
		{"a cut is validated", testCutValidated},
		{"a felled key stays felled", testCutHolds},
		{"another past", testRollback},
		{"a kid is recorded once", testKidKnown},
		{"the archive", testArchive},
		{"every position differs", testPositionsDiffer},
		{"the digest covers everything", testDigestCoversEverything},
		{"deltas", testDelta},
		{"deltas add up", testDeltasAddUp},
		{"concurrent increments", testConcurrentIncrements},
		{"linearizable", testLinearizable},
		{"cuts among swaps", testCutsAmongSwaps},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(newFixture(t, open)) })
	}
}

// NotInitialised holds an empty store to the contract: whatever of open, read and write is the first to notice says
// ErrNotInitialised, and no write makes a store up.
func NotInitialised(t *testing.T, open func() (keyring.Store, error)) {
	for range 2 {
		s, err := open()
		if err == nil {
			_, err = s.Swap(t.Context(), keyring.Position{}, keyring.Edit{Issuers: []keyring.Issuer{Issuer("acme")}})
			_, cutErr := s.Cut(t.Context(), cutoff("op-1"))
			_, readErr := s.Changes(t.Context(), keyring.Position{})
			if !errors.Is(cutErr, keyring.ErrNotInitialised) || !errors.Is(readErr, keyring.ErrNotInitialised) {
				t.Errorf("Cut: %v; Changes: %v; want ErrNotInitialised", cutErr, readErr)
			}
		}
		if !errors.Is(err, keyring.ErrNotInitialised) {
			t.Errorf("got %v, want ErrNotInitialised", err)
		}
	}
}

// fixture is one test's store and what is done to it.
type fixture struct {
	*testing.T
	open  func(t *testing.T) keyring.Store
	store Store
}

func newFixture(t *testing.T, open func(t *testing.T) keyring.Store) *fixture {
	f := &fixture{T: t, open: open}
	f.store = f.another()
	return f
}

// another opens another store.
func (f *fixture) another() Store {
	f.Helper()
	s, ok := f.open(f.T).(Store)
	if !ok {
		f.Fatal("the store must answer KeyByKid and Archived")
	}
	return s
}

// all reads the whole store.
func (f *fixture) all() keyring.Changes {
	f.Helper()
	return f.since(keyring.Position{})
}

func (f *fixture) since(p keyring.Position) keyring.Changes {
	f.Helper()
	c, err := f.store.Changes(f.Context(), p)
	if err != nil {
		f.Fatalf("Changes since %v: %v", p, err)
	}
	return c
}

// swap writes an edit based on the present position.
func (f *fixture) swap(e keyring.Edit) keyring.Position {
	f.Helper()
	at, err := f.store.Swap(f.Context(), f.all().Position, e)
	if err != nil {
		f.Fatalf("Swap: %v", err)
	}
	return at
}

// refused tries an edit, based on the present position, that must fail with the given error and change nothing.
func (f *fixture) refused(e keyring.Edit, want error) {
	f.Helper()
	before := f.all()
	at, err := f.store.Swap(f.Context(), before.Position, e)
	if !errors.Is(err, want) {
		f.Errorf("Swap: %v, want %v", err, want)
	}
	if at != (keyring.Position{}) {
		f.Errorf("a Swap that failed returned %v", at)
	}
	f.unchanged(before)
}

func (f *fixture) unchanged(before keyring.Changes) {
	f.Helper()
	if after := f.all(); !reflect.DeepEqual(before, after) {
		f.Errorf("a write that failed changed the store\nfrom %+v\nto   %+v", before, after)
	}
}

func (f *fixture) cut(c keyring.Cutoff) keyring.Position {
	f.Helper()
	at, err := f.store.Cut(f.Context(), c)
	if err != nil {
		f.Fatalf("Cut: %v", err)
	}
	return at
}

// acme writes issuer acme with the given rings.
func (f *fixture) acme(rings ...keyring.Ring) keyring.Position {
	f.Helper()
	return f.swap(keyring.Edit{Issuers: []keyring.Issuer{Issuer("acme")}, Rings: rings})
}

// ring reads a ring.
func (f *fixture) ring(name string) keyring.Ring {
	f.Helper()
	rings := f.all().Rings
	i := slices.IndexFunc(rings, func(r keyring.Ring) bool { return r.Name == name })
	if i < 0 {
		f.Fatalf("there is no ring %s", name)
	}
	return rings[i]
}

// edit reads a ring, changes it and writes it.
func (f *fixture) edit(name string, change func(r *keyring.Ring)) {
	f.Helper()
	r := f.ring(name)
	change(&r)
	f.swap(keyring.Edit{Rings: []keyring.Ring{r}})
}

// walk takes key serial of a ring through states, one write each.
func (f *fixture) walk(ring string, serial uint64, states ...keyring.State) {
	f.Helper()
	for _, state := range states {
		f.edit(ring, func(r *keyring.Ring) { Move(r.Key(serial), state) })
	}
}

func cutoff(operation string) keyring.Cutoff {
	return keyring.Cutoff{Operation: operation, Reach: keyring.Reach{Kind: keyring.All}, Reason: "drill", Actor: "spiffe://example/ann", Time: epoch}
}
