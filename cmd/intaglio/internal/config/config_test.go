package config_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/keyring"
)

const good = `listen:
  grpc: 0.0.0.0:7443
  http: 127.0.0.1:7480
tls:
  cert: server.pem
  key: /etc/intaglio/server-key.pem
  client_ca: clients.pem
store:
  path: intaglio.db
  mac_key: mac.key
  anchor: /var/lib/intaglio/anchor
backends:
  - name: software
    type: software
    keks: [kek.key, old/kek.key]
init:
  timing:
    snapshot_ttl: 5s
log:
  level: warn
`

func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path)
}

func TestGood(t *testing.T) {
	c, err := load(t, good)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(c.Path)
	for got, want := range map[string]string{
		c.TLS.Cert:            filepath.Join(dir, "server.pem"),
		c.TLS.Key:             "/etc/intaglio/server-key.pem",
		c.Store.Path:          filepath.Join(dir, "intaglio.db"),
		c.Store.Anchor:        "/var/lib/intaglio/anchor",
		c.Backends[0].KEKs[1]: filepath.Join(dir, "old/kek.key"),
	} {
		if got != want {
			t.Errorf("path %s, want %s", got, want)
		}
	}
	if want := (keyring.Timing{SnapshotTTL: 5 * time.Second, MaxAge: time.Minute}); c.Timing() != want {
		t.Errorf("timing %v, want %v", c.Timing(), want)
	}
	if c.Log.Level != slog.LevelWarn {
		t.Errorf("level %v", c.Log.Level)
	}
}

// TestRefused changes the good file in one place each, and wants the complaint to say where.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, new, complaint string }{
		"misspelt key":        {"client_ca:", "client_cas:", "line 7: unknown key client_cas"},
		"unknown at top":      {"log:", "logs:", "line 19: unknown key logs"},
		"unknown in a list":   {"    keks:", "    pin: x\n    keks:", "line 15: unknown key pin"},
		"key twice":           {"  path: intaglio.db", "  path: a\n  path: intaglio.db", "already"},
		"missing":             {"  anchor: /var/lib/intaglio/anchor\n", "", "store.anchor is missing"},
		"missing address":     {"  grpc: 0.0.0.0:7443\n", "", "listen.grpc is missing"},
		"no port":             {"127.0.0.1:7480", "127.0.0.1", "listen.http: "},
		"a duration's number": {"snapshot_ttl: 5s", "snapshot_ttl: 5", "line 18: cannot read"},
		"a duration's unit":   {"snapshot_ttl: 5s", "snapshot_ttl: 5 sec", "line 18: cannot read"},
		"timing":              {"snapshot_ttl: 5s", "snapshot_ttl: 5h", "init.timing: "},
		"backend's type":      {"type: software", "type: vault", `backends[0].type: "vault"`},
		"backend's name":      {"name: software", "name: Software", "backends[0].name: "},
		"no KEK":              {"keks: [kek.key, old/kek.key]", "keks: []", "backends[0].keks is empty"},
		"a secret's value":    {"mac_key: mac.key", "mac_key: {value: c2VjcmV0}", "line 10: cannot read"},
		"level":               {"level: warn", "level: loud", "loud"},
		"format":              {"level: warn", "format: xml", `log.format: "xml"`},
		"second document":     {"log:", "---\nlog:", "second document"},
		"not YAML":            {"listen:", "listen: [", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(good, c.old) == 0 {
				t.Fatalf("the good file has no %q", c.old)
			}
			_, err := load(t, strings.Replace(good, c.old, c.new, 1))
			if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), c.complaint) {
				t.Errorf("error %v, want one with %q", err, c.complaint)
			}
		})
	}
}

func TestEveryComplaintAtOnce(t *testing.T) {
	_, err := load(t, "")
	if err == nil {
		t.Fatal("an empty file was accepted")
	}
	for _, want := range []string{"listen.grpc", "tls.key", "store.mac_key", "backends is empty"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from:\n%v", want, err)
		}
	}
}

func TestTwoBackendsOfOneName(t *testing.T) {
	again := "  - name: software\n    type: software\n    keks: [b.key]\n"
	_, err := load(t, strings.Replace(good, "init:", again+"init:", 1))
	if err == nil || !strings.Contains(err.Error(), "two called software") {
		t.Errorf("error %v", err)
	}
}

func TestNoFile(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "absent.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:0": true, "127.9.9.9:1": true, "[::1]:7443": true, "localhost:7443": true,
		":7443": false, "0.0.0.0:7443": false, "[::]:7443": false, "10.0.0.1:7443": false, "localhost.example:1": false, "127.0.0.1": false,
	} {
		if config.Loopback(address) != want {
			t.Errorf("Loopback(%q) = %v", address, !want)
		}
	}
}
