package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

func TestInit(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "a ? strange % # name.db"), newKey()
	id, at, err := Init(t.Context(), path, key, keyring.DefaultTiming(), keyring.Edit{Grants: []keyring.Grant{storetest.Grant("root")}})
	if err != nil || len(id) != 16 || at.Revision != 1 {
		t.Fatalf("Init: %q, %v, %v", id, at, err)
	}
	s, err := Open(t.Context(), path, key)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	c := everything(t, s)
	if c.Store != id || s.ID() != id || s.Timing() != keyring.DefaultTiming() || c.Position != at || len(c.Grants) != 1 {
		t.Errorf("the store is %q with timing %+v and holds %+v", s.ID(), s.Timing(), c)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", suffix, info.Mode(), err)
		}
	}
	if _, _, err := Init(t.Context(), path, key, keyring.DefaultTiming(), keyring.Edit{}); !errors.Is(err, keyring.ErrRefused) {
		t.Errorf("Init over a store: %v, want ErrRefused", err)
	}
	if now := everything(t, s); now.Position != at {
		t.Errorf("a second Init changed the store")
	}
}

// TestOriginsDiffer: two stores that were never written to share no position.
func TestOriginsDiffer(t *testing.T) {
	seen := map[keyring.Position]bool{}
	for range 2 {
		_, at, err := Init(t.Context(), filepath.Join(t.TempDir(), "store.db"), newKey(), keyring.DefaultTiming(), keyring.Edit{})
		if err != nil || at.Revision != 0 || at == (keyring.Position{}) || seen[at] {
			t.Errorf("a store begins at %v, %v", at, err)
		}
		seen[at] = true
	}
}

func TestInitAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := keyring.Edit{Grants: []keyring.Grant{{Name: "x"}}}
	if _, _, err := Init(t.Context(), path, newKey(), keyring.DefaultTiming(), bad); !errors.Is(err, keyring.ErrInvalid) {
		t.Fatalf("Init with a bad grant: %v", err)
	}
	if _, _, err := Init(t.Context(), path, newKey(), keyring.Timing{}, keyring.Edit{}); !errors.Is(err, keyring.ErrInvalid) {
		t.Fatalf("Init without timing: %v", err)
	}
	if _, err := Open(t.Context(), path, newKey()); !errors.Is(err, keyring.ErrNotInitialised) {
		t.Fatalf("Open after an Init that failed: %v, want ErrNotInitialised", err)
	}
	if _, _, err := Init(t.Context(), path, newKey(), keyring.DefaultTiming(), keyring.Edit{}); err != nil {
		t.Fatalf("Init after one that failed: %v", err)
	}
}

func TestConcurrentInit(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store.db"), newKey()
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			_, _, errs[i] = Init(context.Background(), path, key, keyring.DefaultTiming(), keyring.Edit{})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, keyring.ErrRefused) {
			t.Errorf("Init: %v, want ErrRefused", err)
		}
	}
	if made != 1 {
		t.Errorf("%d of %d made the store", made, len(errs))
	}
}

func TestOpenRefuses(t *testing.T) {
	m := mustInit(t, keyring.Edit{})
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile(m.path)
	if err != nil {
		t.Fatal(err)
	}
	alien := filepath.Join(dir, "alien.db")
	db, err := sql.Open("sqlite", alien)
	if err == nil {
		_, err = db.Exec(`CREATE TABLE songs (title TEXT)`)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(alien)
	for _, test := range []struct {
		what, path string
		key        secret.Bytes
		want       error
		words      string
	}{
		{"no file", filepath.Join(dir, "none.db"), m.key, keyring.ErrNotInitialised, "there is no such file"},
		{"an empty file", file("empty.db", nil), m.key, keyring.ErrNotInitialised, "empty.db"},
		{"a directory", dir, m.key, keyring.ErrInvalid, "not a regular file"},
		{"no database", file("text.db", []byte(strings.Repeat("no database ", 1000))), m.key, nil, "the file is not a database"},
		{"half a store", file("half.db", whole[:len(whole)/2]), m.key, nil, "the file is truncated or damaged"},
		{"another program's database", alien, m.key, keyring.ErrInvalid, `the database belongs to something else, it has tables ["songs"]`},
		{"another key", m.path, newKey(), keyring.ErrTampered, "this is the wrong MAC key file, or the store's description was edited"},
		{"a short key", m.path, secret.New([]byte("short")), keyring.ErrInvalid, "a MAC key has 32 bytes, this one 5"},
		{"no key", m.path, secret.Bytes{}, keyring.ErrInvalid, "a MAC key has 32 bytes, this one 0"},
	} {
		t.Run(test.what, func(t *testing.T) {
			s, err := Open(t.Context(), test.path, test.key)
			if err == nil {
				closeStore(t, s)
				t.Fatal("Open let it pass")
			}
			if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), test.path) {
				t.Errorf("Open: %v, want %v: %s", err, test.want, test.words)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "none.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open made a file")
	}
	if _, _, err := Init(t.Context(), alien, m.key, keyring.DefaultTiming(), keyring.Edit{}); !errors.Is(err, keyring.ErrInvalid) {
		t.Errorf("Init in another program's database: %v, want ErrInvalid", err)
	}
	if after, _ := os.ReadFile(alien); !bytes.Equal(before, after) {
		t.Error("another program's database was changed")
	}
}

// TestFileVanishes: a connection that is made later, when the file is gone, makes no new one.
func TestFileVanishes(t *testing.T) {
	m := mustInit(t, keyring.Edit{})
	s := m.open(t)
	if err := os.Rename(m.path, m.path+".moved"); err != nil {
		t.Fatal(err)
	}
	s.writer.SetMaxIdleConns(0) // closes the one there is
	if _, err := s.Swap(t.Context(), keyring.Position{}, benchmarkRings(1)); err == nil {
		t.Error("Swap wrote to nowhere")
	}
	if _, err := os.Stat(m.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file was made again: %v", err)
	}
}

// version2 is a schema of the future.
func version2(d dialect) []string {
	return []string{d.words.Replace(`CREATE TABLE leases (name TEXT PRIMARY KEY, revision {number} NOT NULL) {strict}`), `INSERT INTO leases VALUES ('rotation', 0)`}
}

func TestMigration(t *testing.T) {
	m := mustInit(t, benchmarkRings(1))
	old := m.open(t)
	before := everything(t, old)
	var wg sync.WaitGroup
	for range 3 { // as servers do that are all restarted with the new release
		wg.Go(func() {
			s, err := open(t.Context(), m.path, m.key, append(schema(), version2))
			if err != nil {
				t.Error(err)
				return
			}
			defer closeStore(t, s)
			if c, err := s.Changes(t.Context(), before.Position); err != nil || c.Position != before.Position {
				t.Errorf("after the migration: %v, %v", c.Position, err)
			}
			if r, err := s.Verify(t.Context()); err != nil || r.Schema != 2 {
				t.Errorf("Verify after the migration: %+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	const words = "schema 2 was written by a newer release; this one knows up to 1"
	_, openErr := Open(t.Context(), m.path, m.key)
	_, readErr := old.Changes(t.Context(), before.Position)
	_, swapErr := old.Swap(t.Context(), before.Position, keyring.Edit{Rings: before.Rings})
	for what, err := range map[string]error{"Open": openErr, "Changes of a server still running": readErr, "its Swap": swapErr} {
		if !errors.Is(err, keyring.ErrNewerSchema) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s by the older release: %v, want ErrNewerSchema", what, err)
		}
	}
}

// TestMigrationFails: a migration that breaks off leaves the store as it was.
func TestMigrationFails(t *testing.T) {
	m := mustInit(t, benchmarkRings(1))
	broken := func(d dialect) []string { return append(version2(d), `INSERT INTO nowhere VALUES (1)`) }
	if _, err := open(t.Context(), m.path, m.key, append(schema(), broken)); err == nil || !strings.Contains(err.Error(), "migrating the schema to version 2") {
		t.Fatalf("a broken migration: %v", err)
	}
	s := m.open(t)
	if r, err := s.Verify(t.Context()); err != nil || r.Schema != 1 {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
	var n int
	if err := s.readers.QueryRow(`SELECT COUNT(*) FROM sqlite_schema WHERE name = 'leases'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("a table of the broken migration stayed: %d, %v", n, err)
	}
}

// TestGuards: our own connections cannot change what is only ever inserted.
func TestGuards(t *testing.T) {
	s := newVictim(t).open(t)
	for _, table := range []string{"cutoffs", "history", "entries", "kids", "archive"} {
		for _, statement := range []string{`DELETE FROM ` + table, `UPDATE ` + table + ` SET rowid = rowid`} {
			if _, err := s.writer.Exec(statement); err == nil || !strings.Contains(err.Error(), "rows are inserted and never changed") {
				t.Errorf("%s: %v", statement, err)
			}
		}
	}
	if _, err := s.readers.Exec(`DELETE FROM sealed`); err == nil {
		t.Error("a connection for reading can write")
	}
}
