package sqlstore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

func TestVerifyCounts(t *testing.T) {
	v := newVictim(t)
	s := v.open(t)
	got, err := s.Verify(t.Context())
	want := Report{
		Store: testID, Position: v.now, Schema: 1, Issuers: 1, Rings: 3, Grants: 2, Cutoffs: 2,
		Keys: 2, Archived: 2, Kids: 3, Writes: 10, Sealed: 1,
	}
	if err != nil || got != want {
		t.Errorf("Verify: %+v, %v\nwant    %+v", got, err, want)
	}
	change(t, s, func(rings map[string]*keyring.Ring) { rings["acme/id"].DefaultTTL *= 2 })
	if again, err := s.Verify(t.Context()); err != nil || again.Writes != 11 {
		t.Errorf("after another write: %+v, %v", again, err)
	}
}

// TestLongHistory goes past the page that walk reads at a time.
func TestLongHistory(t *testing.T) {
	m := mustInit(t, benchmarkRings(1))
	s := m.open(t)
	if _, err := s.writer.Exec(`PRAGMA synchronous = OFF`); err != nil {
		t.Fatal(err)
	}
	c := everything(t, s)
	at := c.Position
	for range page + 5 {
		var err error
		if at, err = s.Swap(t.Context(), at, keyring.Edit{Rings: c.Rings}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Verify(t.Context()); err != nil || r.Writes != page+6 {
		t.Fatalf("Verify: %+v, %v", r, err)
	}
	closeStore(t, s)
	v := victim{made: m, old: filepath.Join(t.TempDir(), "old.db")}
	copyFile(t, m.path, v.old)
	for script, words := range map[string]string{
		`DELETE FROM history WHERE revision = 1000`:                                            "the history of revision 1000 was deleted",
		`DELETE FROM history WHERE revision = 1001`:                                            "the history of revision 1001 was deleted",
		`DELETE FROM history WHERE revision = 1000; DELETE FROM entries WHERE revision = 1000`: "the history of revision 1001 does not follow",
		`UPDATE entries SET sum = zeroblob(32) WHERE revision = 1003`:                          "the history of revision 1003 does not follow",
	} {
		expect(t, script, v.attacked(t, script).verify(t), words)
	}
}

// restore puts the copy of the past in the place of the present, as an operator does after a disaster.
func (v victim) restore(t testing.TB) *Store {
	t.Helper()
	copyFile(t, v.old, v.path)
	return v.open(t)
}

func TestAdopt(t *testing.T) {
	v := newVictim(t)
	s := v.restore(t)
	before := everything(t, s)
	signers := 0
	for i := range before.Rings {
		if keyring.Signer(&before.Rings[i], before.Cutoffs) != nil {
			signers++
		}
	}
	if signers == 0 {
		t.Fatal("nothing in the backup can sign: there is nothing to fell")
	}
	at, err := s.Adopt(t.Context(), v.now, "op-restore", "ann", "restored from the backup of Sunday", when)
	if err != nil || at.Revision != v.now.Revision+1 {
		t.Fatalf("Adopt: %v, %v, want revision %d", at, err, v.now.Revision+1)
	}
	c := everything(t, s)
	for i := range c.Rings {
		r := &c.Rings[i]
		if k := keyring.Signer(r, c.Cutoffs); k != nil {
			t.Errorf("key %s/%d of the backup signs", r.Name, k.Serial)
		}
		for k := range r.Keys {
			if keyring.Cutoffs(c.Cutoffs).Fell(r, &r.Keys[k]) == nil {
				t.Errorf("key %s/%d of the backup was not felled", r.Name, r.Keys[k].Serial)
			}
		}
	}
	if last := c.Cutoffs[len(c.Cutoffs)-1]; last.Reach.Kind != keyring.All || last.Revision != at.Revision || last.Actor != "ann" || !last.Time.Equal(when) {
		t.Errorf("the cutoff is %+v", last)
	}

	// What the lost store did stays lost: servers that remember it are told so, whether they were before or in the gap.
	for _, lost := range []keyring.Position{v.now, {Revision: v.now.Revision - 2, Digest: v.now.Digest}} {
		if _, err := s.Changes(t.Context(), lost); !errors.Is(err, keyring.ErrRollback) {
			t.Errorf("Changes since %v: %v, want ErrRollback", lost, err)
		}
	}
	// The backup's own past is still its past, and life goes on.
	if d, err := s.Changes(t.Context(), v.then); err != nil || len(d.Cutoffs) != 1 {
		t.Errorf("Changes since the backup: %+v, %v", d, err)
	}
	next := change(t, s, func(rings map[string]*keyring.Ring) { storetest.Reserve(rings["acme/access"]) })
	if next.Revision != at.Revision+1 {
		t.Errorf("the next write is at %v, after %v", next, at)
	}
	if r, err := s.Verify(t.Context()); err != nil || r.Position != next {
		t.Errorf("Verify: %+v, %v", r, err)
	}

	again, err := s.Adopt(t.Context(), v.now, "op-restore", "bob", "restored from the backup of Sunday", when)
	if err != nil || again != at {
		t.Errorf("Adopt again: %v, %v, want %v", again, err, at)
	}
	if c := everything(t, s); c.Position != next {
		t.Error("adopting again changed the store")
	}
	if _, err := s.Adopt(t.Context(), keyring.Position{Revision: 1000}, "op-restore", "bob", "restored from the backup of Sunday", when); !errors.Is(err, keyring.ErrInvalid) {
		t.Errorf("Adopt past another anchor by the same operation: %v, want ErrInvalid", err)
	}
}

func TestAdoptRefuses(t *testing.T) {
	v := newVictim(t)
	w := v.attacked(t, `DELETE FROM archive WHERE serial = 1`)
	s := w.open(t)
	if _, err := s.Adopt(t.Context(), v.now, "op-restore", "ann", "restored", when); !errors.Is(err, keyring.ErrTampered) || !strings.Contains(err.Error(), "acme/old/1") {
		t.Errorf("Adopt of a backup that was tampered with: %v", err)
	}
	if c := everything(t, s); c.Position != v.now {
		t.Errorf("an Adopt that failed left the store at %v", c.Position)
	}
	if _, err := v.open(t).Adopt(t.Context(), v.now, "", "ann", "restored", when); !errors.Is(err, keyring.ErrInvalid) {
		t.Errorf("Adopt without an operation: %v, want ErrInvalid", err)
	}
}
