package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"intaglio.example/backends/software"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/internal/secret"
)

// stopped is the state of a trial server that has signed once and was stopped, with the token.
func stopped(t *testing.T, c *console) (dir, configFile, token string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	token = c.must(cli.Done, claims, "sign", "demo/access").stdout
	p.stop()
	return dir, filepath.Join(dir, "server.yaml"), token
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		os.Remove(to)
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serves starts intaglio serve on free ports of an existing state, and wants it to refuse.
func (c *console) serveRefused(dir, reason string) result {
	c.t.Helper()
	return c.refused(cli.Failed, reason, "", "dev", "--dir", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
}

// code finds what a dry run asks to confirm with.
func code(t *testing.T, r result) string {
	t.Helper()
	m := confirmPattern.FindStringSubmatch(r.stdout)
	if m == nil {
		t.Fatalf("no code to confirm in\n%s", r.stdout)
	}
	return m[1]
}

// decode reads what was printed for machines.
func decode(t *testing.T, r result, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		t.Fatalf("%v in\n%s", err, r.stdout)
	}
}

// TestWentBack: a backup is put in the place of the database. It is refused, adopted, and then trusts none of its keys.
func TestWentBack(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, cfg, token := stopped(t, c)
	db, backup := filepath.Join(dir, "intaglio.db"), filepath.Join(dir, "backup.db")
	copyFile(t, db, backup)
	p := c.startDev(dir)
	c.must(cli.Done, "", "issuer", "create", "later", "--url", "https://later.test")
	p.stop()
	c.must(cli.Done, "", "store", "verify", "--config", cfg)
	copyFile(t, backup, db)

	r := c.serveRefused(dir, "STORE_WENT_BACK")
	for _, want := range []string{"the store is at revision ", "this machine has seen ", "Keys revoked since would be trusted again", "intaglio store adopt"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q is missing from\n%s", want, r.stderr)
		}
	}
	c.refused(cli.Failed, "STORE_WENT_BACK", "", "store", "verify", "--config", cfg)
	dry := c.must(cli.Done, "", "store", "adopt", "--config", cfg, "--reason", "restored")
	c.serveRefused(dir, "STORE_WENT_BACK") // the dry run changed nothing
	c.refused(cli.Conflict, "IMPACT_CHANGED", "", "store", "adopt", "--config", cfg, "--reason", "restored", "--confirm", "99-ABCD")
	c.refused(cli.Usage, "USAGE", "", "store", "adopt", "--config", cfg, "--confirm", code(t, dry))
	var would struct {
		Store, Confirm string
		Keys           int
		Anchor         struct{ Revision int }
	}
	decode(t, c.must(cli.Done, "", "store", "adopt", "--config", cfg, "-o", "json"), &would)
	if would.Confirm != code(t, dry) || would.Keys != 1 || would.Anchor.Revision == 0 {
		t.Errorf("the dry run for machines: %+v", would)
	}
	var did struct {
		Store, Operation string
		Keys             int
		Position         struct{ Revision int }
	}
	decode(t, c.must(cli.Done, "", "store", "adopt", "--config", cfg, "--reason", "restored", "--confirm", would.Confirm, "-o", "json"), &did)
	if did.Store != would.Store || did.Operation == "" || did.Keys != 1 || did.Position.Revision <= would.Anchor.Revision {
		t.Errorf("the answer for machines: %+v", did)
	}
	c.must(cli.Done, "", "store", "verify", "--config", cfg)

	p = c.startDev(dir)
	c.refused(cli.Failed, "KEY_REVOKED", token, "verify", "--audience", demoAudience)
	c.must(cli.Done, claims, "sign", "demo/access")
	p.stop()
	copyFile(t, backup, db)
	c.serveRefused(dir, "STORE_WENT_BACK") // the new anchor guards as the old one did
}

// TestGuards: what guards the store is missing, exposed or wrong, and each is told apart.
func TestGuards(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, cfg, _ := stopped(t, c)
	path := func(name string) string { return filepath.Join(dir, name) }
	aside := func(name string, what func()) {
		t.Helper()
		keep := filepath.Join(t.TempDir(), name)
		copyFile(t, path(name), keep)
		what()
		copyFile(t, keep, path(name))
		if err := os.Chmod(path(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	aside("anchor", func() {
		os.Remove(path("anchor"))
		if r := c.serveRefused(dir, "ANCHOR_MISSING"); !strings.Contains(r.stderr, "intaglio store anchor") {
			t.Errorf("no way out: %s", r.stderr)
		}
		var dry struct{ Confirm string }
		decode(t, c.must(cli.Done, "", "store", "anchor", "--config", cfg, "-o", "json"), &dry)
		c.serveRefused(dir, "ANCHOR_MISSING")
		c.refused(cli.Conflict, "IMPACT_CHANGED", "", "store", "anchor", "--config", cfg, "--confirm", "1-0000")
		var trusted struct{ Store string }
		decode(t, c.must(cli.Done, "", "store", "anchor", "--config", cfg, "--confirm", dry.Confirm, "-o", "json"), &trusted)
		if trusted.Store == "" {
			t.Error("the answer for machines names no store")
		}
		c.must(cli.Done, "", "store", "verify", "--config", cfg)
	})
	aside("anchor", func() {
		if err := os.WriteFile(path("anchor"), []byte("intaglio anchor 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.serveRefused(dir, "ANCHOR_DAMAGED")
	})
	for _, name := range []string{"mac.key", "kek.key", "server-key.pem"} {
		aside(name, func() {
			if err := os.Chmod(path(name), 0o644); err != nil {
				t.Fatal(err)
			}
			if r := c.serveRefused(dir, "FILE_EXPOSED"); !strings.Contains(r.stderr, "chmod 0600 "+path(name)) {
				t.Errorf("%s: no way out: %s", name, r.stderr)
			}
		})
	}
	aside("mac.key", func() {
		os.Remove(path("mac.key"))
		c.serveRefused(dir, "FILE_MISSING")
		if err := secret.WriteFile(path("mac.key"), secret.New(make([]byte, 32))); err != nil {
			t.Fatal(err)
		}
		c.serveRefused(dir, "MAC_KEY_WRONG")
	})
	aside("kek.key", func() {
		os.Remove(path("kek.key"))
		if err := software.WriteKEK(path("kek.key"), software.NewKEK(time.Now())); err != nil {
			t.Fatal(err)
		}
		c.serveRefused(dir, "KEK_MISSING")
	})
	aside("intaglio.db", func() {
		os.Remove(path("intaglio.db"))
		r := c.refused(cli.Conflict, "STORE_MISSING", "", "dev", "--dir", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
		if !strings.Contains(r.stderr, "would forget every revocation") {
			t.Errorf("a store is missing: %s", r.stderr)
		}
		c.refused(cli.Failed, "STORE_NOT_INITIALISED", "", "store", "verify", "--config", cfg)
	})
	p := c.startDev(dir) // all is back in its place
	c.must(cli.Done, claims, "sign", "demo/access")
	p.stop()
}

// TestRevokeAllOnTheStore: with every server dead, and with one that runs.
func TestRevokeAllOnTheStore(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, cfg, token := stopped(t, c)
	db, before := filepath.Join(dir, "intaglio.db"), filepath.Join(dir, "before.db")
	copyFile(t, db, before)
	dry := c.must(cli.Done, "", "revoke-all", "--store", cfg, "--into", spareBackend, "--reason", "all servers are gone")
	if !strings.Contains(dry.stdout, "1 key in 1 ring") || !strings.Contains(dry.stdout, "--store") {
		t.Errorf("dry run:\n%s", dry.stdout)
	}
	if again := c.must(cli.Done, "", "revoke-all", "--store", cfg, "--into", spareBackend, "-o", "name").stdout; strings.TrimSpace(again) != code(t, dry) {
		t.Errorf("-o name prints %q, the table %q", again, code(t, dry))
	}
	c.refused(cli.Conflict, "IMPACT_CHANGED", "", "revoke-all", "--store", cfg, "--reason", "another reach", "--confirm", code(t, dry))
	out := c.must(cli.Done, "", "revoke-all", "--store", cfg, "--into", spareBackend, "--reason", "all servers are gone", "--confirm", code(t, dry)).stdout
	if !strings.Contains(out, "obey within 2s") {
		t.Errorf("it does not say when servers obey:\n%s", out)
	}
	after := filepath.Join(dir, "after.db")
	copyFile(t, db, after)
	copyFile(t, before, db)
	c.serveRefused(dir, "STORE_WENT_BACK") // the anchor was raised along
	copyFile(t, after, db)

	p := c.startDev(dir)
	defer p.stop()
	c.refused(cli.Failed, "KEY_REVOKED", token, "verify", "--audience", demoAudience)
	if out := c.must(cli.Done, "", "key", "list", "demo/access").stdout; !strings.Contains(out, spareBackend) || !strings.Contains(out, "revoked") {
		t.Errorf("keys after the restart:\n%s", out)
	}
	token = c.must(cli.Done, claims, "sign", "demo/access").stdout
	dry = c.must(cli.Done, "", "revoke", "ring", "demo/access", "--store", cfg, "--reason", "beside a server")
	c.must(cli.Done, "", "revoke", "ring", "demo/access", "--store", cfg, "--reason", "beside a server", "--confirm", code(t, dry))
	deadline := time.Now().Add(2 * time.Second) // the snapshot TTL
	for c.try(token, "verify").code == cli.Done {
		if time.Now().After(deadline) {
			t.Fatal("the running server did not obey within its snapshot TTL")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestRevokeOnARestoredStore: a cut on an old copy is made, and does not make that copy look like the real store. The brake
// works without an anchor too.
func TestRevokeOnARestoredStore(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, cfg, _ := stopped(t, c)
	db, backup, anchor := filepath.Join(dir, "intaglio.db"), filepath.Join(dir, "backup.db"), filepath.Join(dir, "anchor")
	copyFile(t, db, backup)
	ring := []string{"revoke", "ring", "demo/access", "--store", cfg, "--reason", "x"}
	cut := func(want cli.Code) result {
		t.Helper()
		return c.must(want, "", append(ring, "--confirm", code(t, c.must(cli.Done, "", ring...)))...)
	}
	r := c.must(cli.Done, "", "revoke", "key", "demo/access/1", "--store", cfg, "-o", "name")
	key := []string{"revoke", "key", "demo/access/1", "--store", cfg, "--reason", "stolen", "--confirm", strings.TrimSpace(r.stdout), "-o", "json"}
	var op struct{ Name, State, CutRevision, Keys string }
	decode(t, c.must(cli.Done, "", key...), &op)
	if !strings.HasPrefix(op.Name, "operations/") || op.State != "STATE_CUT" || op.CutRevision == "" || op.Keys != "1" {
		t.Errorf("the answer for machines: %+v", op)
	}
	seen, err := os.ReadFile(anchor)
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, backup, db)
	for range 4 { // below the anchor's revision, at it, and past it
		if dry := c.must(cli.Done, "", ring...); !strings.Contains(dry.stdout, "STORE_WENT_BACK") || !strings.Contains(dry.stderr, "STORE_WENT_BACK") {
			t.Errorf("the dry run hides that the store went back:\n%s%s", dry.stdout, dry.stderr)
		}
		r := cut(cli.Left)
		if !strings.Contains(r.stdout, "REVOKED") || !strings.Contains(r.stderr, "[STORE_WENT_BACK]") || !strings.Contains(r.stderr, "intaglio store adopt") {
			t.Errorf("the cut hides that the store went back:\n%s%s", r.stdout, r.stderr)
		}
		c.serveRefused(dir, "STORE_WENT_BACK")
		if now, err := os.ReadFile(anchor); err != nil || string(now) != string(seen) {
			t.Fatalf("the anchor followed a store that went back: %v\n%s", err, now)
		}
	}
	os.Remove(anchor)
	if r := cut(cli.Left); !strings.Contains(r.stderr, "[ANCHOR_MISSING]") {
		t.Errorf("a cut without an anchor:\n%s", r.stderr)
	}
	if _, err := os.Lstat(anchor); err == nil {
		t.Error("the brake made an anchor")
	}
}

// TestOneServer: a store has one server at a time, and any number of verbs that work beside it.
func TestOneServer(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, cfg, _ := stopped(t, c)
	edit(t, cfg, "127.0.0.1:7443", "127.0.0.1:0")
	edit(t, cfg, "127.0.0.1:7480", "127.0.0.1:0")
	lock := filepath.Join(dir, "intaglio.db.serving")
	other := filepath.Join(t.TempDir(), "same.db")
	if err := os.Symlink(filepath.Join(dir, "intaglio.db"), other); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(dir, "second.yaml")
	copyFile(t, cfg, second)
	edit(t, second, "path: intaglio.db", "path: "+other)

	p := c.startDev(dir)
	for _, path := range []string{cfg, second} {
		if r := c.refused(cli.Conflict, "STORE_IN_USE", "", "serve", "--config", path); !strings.Contains(r.stderr, lock) || !strings.Contains(r.stderr, "one server") {
			t.Errorf("the refusal does not say why:\n%s", r.stderr)
		}
	}
	if info, err := os.Stat(lock); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the lock: %v, %v", info, err)
	}
	c.must(cli.Done, "", "store", "verify", "--config", cfg)
	c.must(cli.Done, "", "key", "rewrap", "--config", cfg)
	p.stop()
	c.startDev(dir).stop() // the file stays, the lock does not
}

// TestDevFolder: the folder is one that nobody else can have put anything into.
func TestDevFolder(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for _, mode := range []os.FileMode{0o770, 0o702} {
		dir := filepath.Join(t.TempDir(), "shared")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		c.serveRefused(dir, "FILE_EXPOSED")
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("something was put into a folder of mode %o: %v, %v", mode, entries, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	c.serveRefused(link, "FILE_EXPOSED")
	if err := guardDir(ownedBy{uid: uint32(os.Geteuid()) + 1, mode: fs.ModeDir | 0o700}, "dir"); err == nil {
		t.Error("another user's folder was taken")
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	c.startDev(open).stop() // empty, and nobody else's: it is closed first
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

// ownedBy is what Lstat says of somebody's folder.
type ownedBy struct {
	fs.FileInfo
	uid  uint32
	mode fs.FileMode
}

func (o ownedBy) Mode() fs.FileMode { return o.mode }
func (o ownedBy) IsDir() bool       { return o.mode.IsDir() }
func (o ownedBy) Sys() any          { return &syscall.Stat_t{Uid: o.uid} }

// TestDevAfterACrash: a start that was killed while it made the store is made up for by the next one.
func TestDevAfterACrash(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, _, _ := stopped(t, c)
	path := filepath.Join(dir, "intaglio.db")
	for name, leave := range map[string]func() error{
		"an empty file": func() error { return os.WriteFile(path, nil, 0o600) },
		"a database without a table": func() error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			_, err = db.Exec("CREATE TABLE t (x); DROP TABLE t")
			return errors.Join(err, db.Close())
		},
	} {
		if err := errors.Join(os.Remove(path), os.Remove(filepath.Join(dir, "anchor")), leave()); err != nil {
			t.Fatal(err)
		}
		p := c.startDev(dir)
		if r := c.try(claims, "sign", "demo/access"); r.code != cli.Done {
			t.Errorf("after %s: %s", name, r.stderr)
		}
		p.stop()
	}
}

// TestRewrap changes the key-encryption key beside a running server.
func TestRewrap(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir, cfg, _ := stopped(t, c)
	time.Sleep(time.Second) // two key-encryption keys of one second are refused: neither would be the newest
	if err := software.WriteKEK(filepath.Join(dir, "kek-2.key"), software.NewKEK(time.Now())); err != nil {
		t.Fatal(err)
	}
	edit(t, cfg, "- kek.key\n", "- kek.key\n        - kek-2.key\n")
	p := c.startDev(dir)
	if out := c.must(cli.Done, "", "key", "rewrap", "--config", cfg, "-o", "json").stdout; !strings.Contains(out, `"moved": 1`) {
		t.Errorf("first rewrap: %s", out)
	}
	if out := c.must(cli.Done, "", "key", "rewrap", "--config", cfg, "-o", "json").stdout; strings.Contains(out, `"moved": 1`) || !strings.Contains(out, `"already": 1`) {
		t.Errorf("second rewrap: %s", out)
	}
	c.must(cli.Done, claims, "sign", "demo/access")
	p.stop()
	onlySoftware(t, cfg)
	edit(t, cfg, "- kek.key\n", "")
	p = c.startDev(dir)
	c.must(cli.Done, claims, "sign", "demo/access")
	p.stop()
}

// onlySoftware: a backend of another kind has nothing to rewrap, and none stands in its place.
func onlySoftware(t *testing.T, path string) {
	t.Helper()
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Backends = append(cfg.Backends, config.Backend{Name: "other", Type: "remote"})
	store, err := openStore(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	opened, err := openSoftware(t.Context(), cfg, store)
	if _, ok := opened["other"]; err != nil || ok || len(opened) != 2 {
		t.Errorf("opened %d backends, %v", len(opened), err)
	}
}

func edit(t *testing.T, path, old, new string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), old) != 1 {
		t.Fatalf("%s has not one %q:\n%s", path, old, text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestInit makes a store of its own, as for production, and serves from it.
func TestInit(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	pki, _, _ := stopped(t, c) // for its certificates only
	dir := t.TempDir()
	cfg := filepath.Join(dir, "server.yaml")
	text := fmt.Sprintf(`listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0"}
tls: {cert: %[1]s/server.pem, key: %[1]s/server-key.pem, client_ca: %[1]s/ca.pem}
store: {path: prod.db, mac_key: mac.key, anchor: anchor}
backends: [{name: software, type: software, keks: [kek.key]}]
`, pki)
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.refused(cli.Failed, "FILE_MISSING", "", "serve", "--config", cfg)
	out := c.must(cli.Done, "", "init", "--config", cfg, "--admin", demoAdmin).stdout
	for _, want := range []string{"BACK UP", "prod.db", "mac.key", "kek.key", "NEVER RESTORE", "anchor", "intaglio serve"} {
		if !strings.Contains(out, want) {
			t.Errorf("init does not say %q:\n%s", want, out)
		}
	}
	mac, err := os.ReadFile(filepath.Join(dir, "mac.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.refused(cli.Conflict, "STORE_EXISTS", "", "init", "--config", cfg, "--admin", "spiffe://evil.test/x")
	os.Remove(filepath.Join(dir, "anchor"))
	c.refused(cli.Conflict, "STORE_EXISTS", "", "init", "--config", cfg, "--admin", "spiffe://evil.test/x")
	dry := c.must(cli.Done, "", "store", "anchor", "--config", cfg)
	c.must(cli.Done, "", "store", "anchor", "--config", cfg, "--confirm", code(t, dry))
	if again, err := os.ReadFile(filepath.Join(dir, "mac.key")); err != nil || string(again) != string(mac) {
		t.Errorf("init replaced the MAC key: %v", err)
	}

	p := c.start("serve", "--config", cfg)
	p.await(func() bool { return strings.Contains(p.stderr.String(), "serving") })
	p.stop()
	if log := p.stderr.String(); !strings.Contains(log, "stopping") {
		t.Errorf("log:\n%s", log)
	}
}

// TestAdoptAndAServer: a store is not adopted under a server that serves it.
func TestAdoptAndAServer(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	defer p.stop()
	adopt := []string{"store", "adopt", "--config", filepath.Join(dir, "server.yaml"), "--reason", "x"}
	confirmed := append(adopt, "--confirm", code(t, c.must(cli.Done, "", adopt...)))
	c.refused(cli.Conflict, "STORE_IN_USE", "", confirmed...)
	c.must(cli.Done, claims, "sign", "demo/access")
}
