package sqlstore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"intaglio.example/keyring"
)

func TestSealed(t *testing.T) {
	s := mustInit(t, keyring.Edit{}).open(t)
	at := everything(t, s).Position
	keys := s.Sealed()
	ctx := t.Context()
	if blob, ok, err := keys.Get(ctx, "a"); ok || err != nil || blob != nil {
		t.Errorf("Get of nothing: %q, %v, %v", blob, ok, err)
	}
	if err := keys.Delete(ctx, "a"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if kept, err := keys.Put(ctx, "b", []byte("first")); err != nil || string(kept) != "first" {
		t.Errorf("Put: %q, %v", kept, err)
	}
	if kept, err := keys.Put(ctx, "b", []byte("second")); err != nil || string(kept) != "first" {
		t.Errorf("Put over another: %q, %v, want the first", kept, err)
	}
	if ok, err := keys.Replace(ctx, "b", []byte("second"), []byte("third")); ok || err != nil {
		t.Errorf("Replace of what is not there: %v, %v", ok, err)
	}
	if ok, err := keys.Replace(ctx, "none", []byte("first"), []byte("third")); ok || err != nil {
		t.Errorf("Replace of nothing: %v, %v", ok, err)
	}
	if ok, err := keys.Replace(ctx, "b", []byte("first"), []byte("third")); !ok || err != nil {
		t.Errorf("Replace: %v, %v", ok, err)
	}
	if _, err := keys.Put(ctx, "a", []byte("other")); err != nil {
		t.Error(err)
	}
	if blob, ok, err := keys.Get(ctx, "b"); string(blob) != "third" || !ok || err != nil {
		t.Errorf("Get: %q, %v, %v", blob, ok, err)
	}
	if labels, err := keys.Labels(ctx); err != nil || !slices.Equal(labels, []string{"a", "b"}) {
		t.Errorf("Labels: %q, %v", labels, err)
	}
	for range 2 {
		if err := keys.Delete(ctx, "b"); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	if labels, err := keys.Labels(ctx); err != nil || !slices.Equal(labels, []string{"a"}) {
		t.Errorf("Labels: %q, %v", labels, err)
	}
	if now := everything(t, s).Position; now != at {
		t.Errorf("sealed keys moved the store from %v to %v", at, now)
	}
}

// TestSealedRace: whoever puts a key under one label first, all keep the same one.
func TestSealedRace(t *testing.T) {
	keys := mustInit(t, keyring.Edit{}).open(t).Sealed()
	var wg sync.WaitGroup
	kept := make([][]byte, 8)
	for i := range kept {
		wg.Go(func() {
			var err error
			if kept[i], err = keys.Put(t.Context(), "label", []byte{byte(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range kept {
		if !bytes.Equal(k, kept[0]) {
			t.Errorf("two kept %v and %v", k, kept[0])
		}
	}
}

// TestSealedKeyIsGone: a deleted key leaves no byte in the store's files.
func TestSealedKeyIsGone(t *testing.T) {
	m := mustInit(t, keyring.Edit{})
	s := m.open(t)
	found := func(b []byte) bool {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			content, err := os.ReadFile(m.path + suffix)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if bytes.Contains(content, b) {
				return true
			}
		}
		return false
	}
	for _, size := range []int{200, 20_000} { // in a page, and over several
		blob := make([]byte, size)
		rand.Read(blob)
		piece := blob[len(blob)-32:]
		if _, err := s.Sealed().Put(t.Context(), "label", blob); err != nil {
			t.Fatal(err)
		}
		if !found(piece) {
			t.Fatal("the key is not in the files: this test looks in the wrong place")
		}
		if err := s.Sealed().Delete(t.Context(), "label"); err != nil {
			t.Fatal(err)
		}
		if found(piece) {
			t.Errorf("a deleted key of %d bytes is still in the files", size)
		}
	}
}

// TestReaderInTheWay: deleting does not wait for whoever reads.
func TestReaderInTheWay(t *testing.T) {
	s := mustInit(t, keyring.Edit{}).open(t)
	if _, err := s.Sealed().Put(t.Context(), "label", []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	tx, err := s.readers.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var n int
	if err := tx.QueryRow(`SELECT COUNT(*) FROM sealed`).Scan(&n); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	start := time.Now()
	if err := s.Sealed().Delete(t.Context(), "label"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if took := time.Since(start); took > moment+time.Second {
		t.Errorf("Delete took %v", took)
	}
	if _, ok, err := s.Sealed().Get(t.Context(), "label"); ok || err != nil {
		t.Errorf("Get: %v, %v", ok, err)
	}
}
