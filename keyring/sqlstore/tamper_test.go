package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// victim is a store with a past, and a copy of it from that past.
type victim struct {
	made
	old  string           // the copy
	then keyring.Position // of the copy
	now  keyring.Position
}

var when = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// change reads the store, lets do change the rings it is given by name, and writes them back.
func change(t testing.TB, s *Store, do func(rings map[string]*keyring.Ring)) keyring.Position {
	t.Helper()
	c := everything(t, s)
	rings := map[string]*keyring.Ring{}
	for i := range c.Rings {
		rings[c.Rings[i].Name] = &c.Rings[i]
	}
	do(rings)
	at, err := s.Swap(t.Context(), c.Position, keyring.Edit{Rings: c.Rings})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func everything(t testing.TB, s *Store) keyring.Changes {
	t.Helper()
	c, err := s.Changes(t.Context(), keyring.Position{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func cutoff(operation, ring string) keyring.Cutoff {
	return keyring.Cutoff{Operation: operation, Reach: keyring.Reach{Kind: keyring.OneRing, Name: ring}, Reason: "drill", Time: when}
}

func newVictim(t *testing.T) victim {
	t.Helper()
	access, id, old := storetest.Ring("acme/access"), storetest.Ring("acme/id"), storetest.Ring("acme/old")
	for _, r := range []*keyring.Ring{&access, &id, &old} {
		storetest.Reserve(r)
	}
	m := mustInit(t, keyring.Edit{
		Issuers: []keyring.Issuer{storetest.Issuer("acme")},
		Rings:   []keyring.Ring{access, id, old},
		Grants:  []keyring.Grant{storetest.Grant("ann"), storetest.Grant("bob")},
	})
	s, err := Open(t.Context(), m.path, m.key)
	if err != nil {
		t.Fatal(err)
	}
	stage := func(rings map[string]*keyring.Ring) {
		for _, r := range rings {
			storetest.Move(&r.Keys[0], keyring.Staged)
		}
	}
	change(t, s, stage)
	change(t, s, func(rings map[string]*keyring.Ring) { storetest.Move(rings["acme/access"].Key(1), keyring.Active) })
	then := change(t, s, func(rings map[string]*keyring.Ring) {
		storetest.Move(rings["acme/id"].Key(1), keyring.Active)
		storetest.Move(rings["acme/old"].Key(1), keyring.Revoked)
		storetest.Reserve(rings["acme/old"])
		rings["acme/old"].Key(1).Destroy = when
	})
	closeStore(t, s)
	v := victim{made: m, old: filepath.Join(t.TempDir(), "old.db"), then: then}
	copyFile(t, m.path, v.old)

	if s, err = Open(t.Context(), m.path, m.key); err != nil {
		t.Fatal(err)
	}
	change(t, s, func(rings map[string]*keyring.Ring) {
		rings["acme/access"].Key(1).Retain = true
		storetest.Move(rings["acme/id"].Key(1), keyring.Revoked)
		rings["acme/old"].Key(1).Destroyed = when
		storetest.Move(rings["acme/old"].Key(2), keyring.Revoked)
		rings["acme/old"].Key(2).Destroy = when
	})
	change(t, s, func(rings map[string]*keyring.Ring) { rings["acme/old"].Key(2).Destroyed = when })
	change(t, s, func(rings map[string]*keyring.Ring) { rings["acme/old"].Keys = nil }) // both go to the archive
	ann := storetest.Grant("ann")
	ann.Deleted = true
	if _, err := s.Swap(t.Context(), everything(t, s).Position, keyring.Edit{Grants: []keyring.Grant{ann}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []keyring.Cutoff{cutoff("op-1", "acme/id"), cutoff("op-2", "acme/access")} {
		if v.now, err = s.Cut(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sealed().Put(t.Context(), "label", []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	return v
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// attacked returns a copy of the victim on which the given SQL was run. The copy of the past is attached as old, and
// nothing guards any table.
func (v victim) attacked(t testing.TB, script string) victim {
	t.Helper()
	w := v
	w.path = filepath.Join(t.TempDir(), "store.db")
	copyFile(t, v.path, w.path)
	db, err := sql.Open("sqlite", w.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, table := range []string{"cutoffs", "history", "entries", "kids", "archive"} {
		script = fmt.Sprintf("DROP TRIGGER %s_update; DROP TRIGGER %s_delete;", table, table) + script
	}
	script = fmt.Sprintf("ATTACH '%s' AS old;", v.old) + script
	if _, err := db.Exec(script); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return w
}

const (
	nobody = "" // this way of looking does not find it, and need not
	// edit changes some bytes of the JSON in a column.
	edit = `UPDATE %[1]s SET body = CAST(replace(CAST(body AS TEXT), '%[3]s', '%[4]s') AS BLOB) WHERE %[2]s;`
)

// tampering lists what somebody who can write the database, and not the MAC key, may try; and the words in which a full
// read and Verify refuse it.
var tampering = []struct {
	what   string
	script string
	full   string // what a server that starts says
	verify string // what Verify says, if it is something else
}{
	{what: "nothing"},
	// Rings.
	{what: "a ring's audience is widened", script: fmt.Sprintf(edit, "records", "name = 'acme/access'", `"max_ttl":3600`, `"max_ttl":9600`), full: "ring acme/access was edited"},
	{what: "a retain flag is lifted", script: fmt.Sprintf(edit, "records", "name = 'acme/access'", `,"retain":true`, ``), full: "ring acme/access was edited"},
	{what: "a revoked key is set back to active", script: fmt.Sprintf(edit, "records", "name = 'acme/id'", `"state":"revoked"`, `"state":"active"`), full: "ring acme/id was edited"},
	{what: "a ring's MAC is edited", script: `UPDATE records SET mac = randomblob(32) WHERE name = 'acme/old'`, full: "ring acme/old was edited"},
	{what: "a ring's MAC is cut short", script: `UPDATE records SET mac = x'' WHERE name = 'acme/old'`, full: "ring acme/old was edited"},
	{what: "a ring's revision is raised", script: `UPDATE records SET revision = revision + 100 WHERE name = 'acme/old'`, full: "ring acme/old was edited"},
	{what: "a ring is deleted", script: `DELETE FROM records WHERE name = 'acme/access'`, full: "ring acme/access was deleted"},
	{what: "a ring is replaced by an older copy", script: `REPLACE INTO records SELECT * FROM old.records WHERE name = 'acme/id'`,
		full: "ring acme/id was replaced by its copy of revision 4, the last is of 7"},
	{what: "a ring is put in by hand", script: `INSERT INTO records SELECT kind, 'acme/evil', revision, body, mac FROM records WHERE name = 'acme/access'`, full: "ring acme/evil was edited"},
	{what: "two rings swap names", script: `UPDATE records SET name = 'x' WHERE name = 'acme/access'; UPDATE records SET name = 'acme/access' WHERE name = 'acme/id'; UPDATE records SET name = 'acme/id' WHERE name = 'x'`,
		full: "ring acme/access was edited"},
	{what: "a ring becomes a grant", script: `UPDATE records SET kind = 'grant' WHERE name = 'acme/old'`, full: "grant acme/old was edited"},
	{what: "a kind of row that nobody knows", script: `INSERT INTO records VALUES ('other', 'x', 1, x'', x'')`, full: "other x is of a kind that the store does not know"},
	{what: "65,536 older copies of a ring stand beside it", script: `
		CREATE TABLE r (kind TEXT, name TEXT, revision INTEGER, body BLOB, mac BLOB);
		INSERT INTO r SELECT * FROM records;
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 65536)
		INSERT INTO r SELECT kind, name, revision, body, mac FROM old.records, n WHERE name = 'acme/id';
		DROP TABLE records; ALTER TABLE r RENAME TO records;`, full: "there are two rows of ring acme/id"},
	// Grants and issuers.
	{what: "a grant is widened", script: fmt.Sprintf(edit, "records", "name = 'bob'", `"sign"`, `"audit"`), full: "grant bob was edited"},
	{what: "a deleted grant comes back", script: `REPLACE INTO records SELECT * FROM old.records WHERE name = 'ann'`, full: "grant ann was replaced by its copy of revision 1"},
	{what: "a grant vanishes", script: `DELETE FROM records WHERE name = 'ann'`, full: "grant ann was deleted"},
	{what: "an issuer moves", script: fmt.Sprintf(edit, "records", "kind = 'issuer'", `https://acme`, `https://evil`), full: "issuer acme was edited"},
	{what: "an issuer is deleted", script: `DELETE FROM records WHERE kind = 'issuer'`, full: "issuer acme was deleted"},
	// Cutoffs.
	{what: "a cutoff is narrowed", script: fmt.Sprintf(edit, "cutoffs", "operation = 'op-1'", `acme/id`, `acme/none`), full: "cutoff op-1 was edited"},
	{what: "a cutoff is lowered", script: `UPDATE cutoffs SET revision = 1 WHERE operation = 'op-1'`, full: "cutoff op-1 was edited"},
	{what: "a cutoff is deleted", script: `DELETE FROM cutoffs WHERE operation = 'op-1'`, full: "cutoff op-1 was deleted"},
	{what: "a cutoff and its history are deleted", script: `DELETE FROM entries WHERE name = 'op-1'; DELETE FROM history WHERE revision = (SELECT revision FROM cutoffs WHERE operation = 'op-1'); DELETE FROM cutoffs WHERE operation = 'op-1'`,
		full: "the history of revision 10 does not follow from what stands before it"},
	{what: "a cutoff is put in by hand", script: `INSERT INTO cutoffs SELECT revision + 100, 'op-3', body, mac FROM cutoffs WHERE operation = 'op-1'`, full: "cutoff op-3 was edited"},
	{what: "two cutoffs of one operation", script: `CREATE TABLE c (revision INTEGER, operation TEXT, body BLOB, mac BLOB); INSERT INTO c SELECT * FROM cutoffs; INSERT INTO c SELECT * FROM cutoffs;
		DROP TABLE cutoffs; ALTER TABLE c RENAME TO cutoffs`, full: "there are two rows of cutoff op-1"},
	// The head.
	{what: "the head's revision is edited", script: `UPDATE head SET revision = revision - 1`, full: "the head was edited"},
	{what: "the head's body is edited", script: `UPDATE head SET body = zeroblob(length(body))`, full: "the head was edited"},
	{what: "the head is deleted", script: `DELETE FROM head`, full: "the head was deleted"},
	{what: "the head is replaced by an older copy", script: `REPLACE INTO head SELECT * FROM old.head`, full: "the head was replaced by its copy of revision 4, the history goes on to 10"},
	{what: "head and history are replaced by older copies", script: `REPLACE INTO head SELECT * FROM old.head; DELETE FROM history WHERE revision > 4; DELETE FROM entries WHERE revision > 4`,
		full: "the history of ring acme/access at revision 7 was deleted or edited"},
	// The history.
	{what: "the newest history is deleted", script: `DELETE FROM history WHERE revision = 10`, full: "the history of revision 10, the newest, was deleted"},
	{what: "a digest in the history is edited", script: `UPDATE history SET digest = zeroblob(32) WHERE revision = 6`, verify: "the history of revision 6 was edited"},
	{what: "a digest in the history is moved", script: `UPDATE history SET (digest, mac) = (SELECT digest, mac FROM history WHERE revision = 5) WHERE revision = 6`, verify: "the history of revision 6 was edited"},
	{what: "a revision is deleted from the history", script: `DELETE FROM history WHERE revision = 6`, verify: "the history of revision 6 was deleted"},
	{what: "revision 0 is deleted from the history", script: `DELETE FROM history WHERE revision = 0`, verify: "the history of revision 0 was deleted"},
	{what: "an entry is edited", script: `UPDATE entries SET sum = zeroblob(32) WHERE name = 'acme/id' AND revision = 5`, verify: "the history of revision 5 does not follow"},
	{what: "an entry is renamed", script: `UPDATE entries SET name = 'acme/none' WHERE name = 'acme/id' AND revision = 6`, verify: "the history of revision 6 does not follow"},
	{what: "entries change their order", script: `UPDATE entries SET ordinal = 9 WHERE ordinal = 0 AND revision = 7`, verify: "the history of revision 7 does not follow"},
	{what: "an entry is added", script: `INSERT INTO entries VALUES (8, 7, 'ring', 'acme/evil', zeroblob(32))`, verify: "the history of revision 8 does not follow"},
	{what: "an entry of the future is added", script: `INSERT INTO entries VALUES (99, 0, 'ring', 'acme/evil', zeroblob(32))`, verify: "the history of revision 99 was deleted"},
	{what: "the entries of a revision are deleted", script: `DELETE FROM entries WHERE revision = 10`, verify: "the history of revision 10 does not follow"},
	// Kids and the archive, which a server that starts does not read.
	{what: "a kid is deleted", script: `DELETE FROM kids WHERE key_id = 'acme/old/1'`, verify: "of key acme/old/1 was deleted from the index"},
	{what: "a kid changes hands", script: `UPDATE kids SET key_id = 'acme/id/9' WHERE key_id = 'acme/old/1'`, verify: "was edited"},
	{what: "a kid is renamed", script: `UPDATE kids SET kid = 'evil' WHERE key_id = 'acme/old/1'`, verify: "kid evil was edited"},
	{what: "an archived key is edited", script: fmt.Sprintf(edit, "archive", "serial = 1", `"state":"revoked"`, `"state":"retired"`), verify: "archived key acme/old/1 was edited"},
	{what: "an archived key is renumbered", script: `UPDATE archive SET serial = 7 WHERE serial = 1`, verify: "archived key acme/old/7 was edited"},
	{what: "an archived key is deleted", script: `DELETE FROM archive WHERE serial = 1`, verify: "belongs to key acme/old/1, whose record was deleted from the archive"},
	{what: "an archived key without kid is deleted", script: `DELETE FROM archive WHERE serial = 2`, verify: "a key is missing from the archive"},
	{what: "an archived key and its kid are deleted", script: `DELETE FROM archive WHERE serial = 1; DELETE FROM kids WHERE key_id = 'acme/old/1'`, verify: "a key is missing from the archive"},
	{what: "65,536 copies of an archived key", script: `CREATE TABLE a (ring TEXT, serial INTEGER, revision INTEGER, body BLOB, mac BLOB);
		INSERT INTO a SELECT * FROM archive; INSERT INTO a SELECT * FROM archive; DROP TABLE archive; ALTER TABLE a RENAME TO archive`, verify: "there are two rows of archived key acme/old/1"},
	// The description.
	{what: "the timing is relaxed", script: `UPDATE meta SET timing = CAST(replace(CAST(timing AS TEXT), '15000000000', '95000000000') AS BLOB)`, full: "wrong MAC key file, or the store's description was edited"},
	{what: "the id is edited", script: `UPDATE meta SET store = '0000000000000000'`, full: "wrong MAC key file, or the store's description was edited"},
	{what: "the description is deleted", script: `DELETE FROM meta`, full: "the store's description was deleted"},
}

func TestTampering(t *testing.T) {
	v := newVictim(t)
	if v.then.Revision != 4 || v.now.Revision != 10 {
		t.Fatalf("the victim's past is at %v, its present at %v", v.then, v.now)
	}
	for _, test := range tampering {
		t.Run(test.what, func(t *testing.T) {
			w := v.attacked(t, test.script)
			expect(t, "a server that starts", w.start(t), test.full)
			if test.verify == nobody {
				test.verify = test.full
			}
			expect(t, "Verify", w.verify(t), test.verify)
		})
	}
}

func expect(t *testing.T, who string, err error, words string) {
	t.Helper()
	switch {
	case words == nobody && err != nil:
		t.Errorf("%s: %v, want no error", who, err)
	case words != nobody && (!errors.Is(err, keyring.ErrTampered) || !strings.Contains(err.Error(), words)):
		t.Errorf("%s: %v, want ErrTampered: %s", who, err, words)
	}
}

// start opens the store and reads everything, as a server does that has no snapshot yet.
func (v victim) start(t testing.TB) error {
	s, err := Open(t.Context(), v.path, v.key)
	if err != nil {
		return err
	}
	defer closeStore(t, s)
	_, err = s.Changes(t.Context(), keyring.Position{})
	return err
}

func (v victim) verify(t testing.TB) error {
	s, err := Open(t.Context(), v.path, v.key)
	if err != nil {
		return err
	}
	defer closeStore(t, s)
	_, err = s.Verify(t.Context())
	return err
}

// TestTamperingSeenByARunningServer: a replica that was at the position of the copy asks what changed since. Its own rows
// are safe in its memory; what it is told must not be able to mislead it.
func TestTamperingSeenByARunningServer(t *testing.T) {
	v := newVictim(t)
	for _, test := range []struct{ what, script, words string }{
		{what: "nothing"},
		{"a changed ring is edited", fmt.Sprintf(edit, "records", "name = 'acme/id'", `"state":"revoked"`, `"state":"active"`), "ring acme/id was edited"},
		{"a changed ring is replaced by an older copy", `REPLACE INTO records SELECT * FROM old.records WHERE name = 'acme/id'`, "ring acme/id was replaced by its copy of revision 4"},
		{"a changed grant is deleted", `DELETE FROM records WHERE name = 'ann'`, "grant ann was deleted"},
		{"a cutoff is deleted", `DELETE FROM cutoffs WHERE operation = 'op-2'`, "cutoff op-2 was deleted"},
		{"a cutoff is lowered", `UPDATE cutoffs SET revision = 1 WHERE operation = 'op-2'`, "cutoff op-2 was edited"},
		{"a cutoff is hidden", `DELETE FROM cutoffs WHERE operation = 'op-1'; DELETE FROM entries WHERE name = 'op-1'; DELETE FROM history WHERE revision = 9`, "the history of revision 10 does not follow"},
		{"an entry is edited", `UPDATE entries SET sum = zeroblob(32) WHERE name = 'acme/id' AND revision = 5`, "the history of revision 5 does not follow"},
		{"our position is deleted from the history", `DELETE FROM history WHERE revision = 4`, "the history of revision 4 was deleted"},
		{"our position is edited in the history", `UPDATE history SET digest = zeroblob(32) WHERE revision = 4`, "the history of revision 4 was edited"},
		{"a row that did not change is deleted", `DELETE FROM records WHERE name = 'bob'`, nobody},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := v.attacked(t, test.script)
			_, err := w.open(t).Changes(t.Context(), v.then)
			expect(t, "Changes", err, test.words)
		})
	}
}

// TestTamperingSeenByWrites: a write does not build on a row that is not the last of its name.
func TestTamperingSeenByWrites(t *testing.T) {
	v := newVictim(t)
	s := v.open(t)
	now := everything(t, s)
	for _, test := range []struct{ what, script, words string }{
		{what: "nothing"},
		{"a ring is edited", fmt.Sprintf(edit, "records", "name = 'acme/access'", `,"retain":true`, ``), "ring acme/access was edited"},
		{"a ring is replaced by an older copy", `REPLACE INTO records SELECT * FROM old.records WHERE name = 'acme/access'`, "ring acme/access was replaced by its copy of revision 4"},
		{"a ring is deleted", `DELETE FROM records WHERE name = 'acme/access'`, "ring acme/access was deleted"},
		{"a ring's history is deleted", `DELETE FROM entries WHERE name = 'acme/access'`, "ring acme/access is unknown to the history"},
		{"a cutoff is deleted", `DELETE FROM cutoffs WHERE operation = 'op-2'`, "cutoff op-2 was deleted"},
		{"the head is replaced by an older copy", `REPLACE INTO head SELECT * FROM old.head`, "the head was replaced by its copy"},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := v.attacked(t, test.script)
			_, err := w.open(t).Swap(t.Context(), now.Position, keyring.Edit{Rings: now.Rings[:1]})
			expect(t, "Swap", err, test.words)
		})
	}
}

// TestRowsOfAnotherStore: two stores may share a MAC key. They do not share rows.
func TestRowsOfAnotherStore(t *testing.T) {
	v := newVictim(t)
	other := filepath.Join(t.TempDir(), "other.db")
	if _, _, err := Init(t.Context(), other, v.key, keyring.DefaultTiming(), benchmarkRings(1)); err != nil {
		t.Fatal(err)
	}
	v.old = other
	w := v.attacked(t, `INSERT INTO records SELECT * FROM old.records WHERE name = 'acme/r0'`)
	expect(t, "a server that starts", w.start(t), "ring acme/r0 was edited")

	w = v.attacked(t, ``)
	s := w.open(t)
	if _, err := s.writer.Exec(`ATTACH '` + other + `' AS old; REPLACE INTO meta SELECT * FROM old.meta`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Verify(t.Context())
	expect(t, "Verify", err, "the store's description was replaced by another one")
}

// TestCutDespiteTampering: the brake reads no ring.
func TestCutDespiteTampering(t *testing.T) {
	w := newVictim(t).attacked(t, `UPDATE records SET body = x'00'; DELETE FROM kids; DELETE FROM archive`)
	s := w.open(t)
	at, err := s.Cut(t.Context(), keyring.Cutoff{Operation: "op-9", Reach: keyring.Reach{Kind: keyring.All}, Reason: "incident"})
	if err != nil || at.Revision != w.now.Revision+1 {
		t.Fatalf("Cut: %v, %v", at, err)
	}
	c, err := s.Changes(t.Context(), w.now)
	if err != nil || len(c.Cutoffs) != 1 {
		t.Errorf("a running server sees %+v, %v", c, err)
	}
}

// TestTriggerOfAnAttacker: code in the database that takes a cutoff back at once goes no further than the next read.
func TestTriggerOfAnAttacker(t *testing.T) {
	w := newVictim(t).attacked(t, `CREATE TRIGGER evil AFTER INSERT ON cutoffs BEGIN DELETE FROM cutoffs WHERE operation = NEW.operation; END`)
	s := w.open(t)
	if _, err := s.Cut(t.Context(), cutoff("op-9", "acme/id")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Changes(t.Context(), w.now)
	expect(t, "Changes", err, "cutoff op-9 was deleted")
}

// TestOlderDatabase: every byte of an older copy of the database is genuine. Only somebody who remembers can tell.
func TestOlderDatabase(t *testing.T) {
	v := newVictim(t)
	copyFile(t, v.old, v.path)
	s := v.open(t)
	if _, err := s.Verify(t.Context()); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if _, err := s.Changes(t.Context(), v.now); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("Changes since the present: %v, want ErrRollback", err)
	}
	// Writing on until the revisions meet does not help.
	for i := range v.now.Revision {
		if _, err := s.Cut(t.Context(), cutoff(fmt.Sprint("op-", 100+i), "acme/id")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Changes(t.Context(), v.now); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("Changes since the present, once the store has caught up: %v, want ErrRollback", err)
	}
	if _, err := s.Swap(t.Context(), v.now, keyring.Edit{Grants: []keyring.Grant{storetest.Grant("eve")}}); !errors.Is(err, keyring.ErrRollback) {
		t.Errorf("Swap as of the present: %v, want ErrRollback", err)
	}
}
