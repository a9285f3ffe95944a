package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/cmd/intaglio/internal/filepki"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const sample = "server: 127.0.0.1:7443\nca: ca.pem\ncert: me.pem\nkey: /elsewhere/me-key.pem\n"

func TestPathsFollowTheFile(t *testing.T) {
	dir := t.TempDir()
	c, err := client.Load(write(t, filepath.Join(dir, "context.yaml"), sample))
	if err != nil {
		t.Fatal(err)
	}
	if c.CA != filepath.Join(dir, "ca.pem") || c.Key != "/elsewhere/me-key.pem" {
		t.Errorf("ca %s, key %s", c.CA, c.Key)
	}
}

func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key": sample + "sever: x\n",
		"no server":   "ca: a\ncert: b\nkey: c\n",
		"empty":       "",
		"not YAML":    "server: [",
	} {
		if _, err := client.Load(write(t, filepath.Join(t.TempDir(), "c.yaml"), text)); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrecedence: the flag, then the environment, then what was chosen.
func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	byFlag := write(t, filepath.Join(dir, "flag.yaml"), sample)
	byEnv := write(t, filepath.Join(dir, "env.yaml"), sample)
	chosen := write(t, filepath.Join(dir, "chosen.yaml"), sample)
	env := map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "config")}
	getenv := func(name string) string { return env[name] }

	if _, err := client.Find("", getenv); !errors.Is(err, client.ErrNone) {
		t.Fatalf("with nothing chosen: %v", err)
	}
	known, err := client.ReadKnown(getenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := known.Use(chosen); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ flag, env, want, from string }{
		{"", "", chosen, "intaglio context use"},
		{"", byEnv, byEnv, "INTAGLIO_CONTEXT"},
		{byFlag, byEnv, byFlag, "--context"},
	} {
		env["INTAGLIO_CONTEXT"] = step.env
		c, err := client.Find(step.flag, getenv)
		if err != nil || c.Path != step.want || c.From != step.from {
			t.Errorf("flag %q, env %q: %+v, %v", step.flag, step.env, c, err)
		}
	}
}

func TestKnownRemembers(t *testing.T) {
	getenv := func(name string) string { return map[string]string{"HOME": os.Getenv("TMPHOME")}[name] }
	home := t.TempDir()
	t.Setenv("TMPHOME", home)
	for _, path := range []string{"/a.yaml", "/b.yaml", "/a.yaml"} {
		known, err := client.ReadKnown(getenv)
		if err != nil {
			t.Fatal(err)
		}
		if err := known.Use(path); err != nil {
			t.Fatal(err)
		}
	}
	known, err := client.ReadKnown(getenv)
	if err != nil || known.Current != "/a.yaml" || len(known.Files) != 2 {
		t.Errorf("%+v, %v", known, err)
	}
}

// TestIdentity: a certificate names whom a server takes it for, which is nobody when a URI would pass for a host.
func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	ca, err := filepki.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{"spiffe://example.org/ana": "spiffe://example.org/ana", "dns:host": ""} {
		if err := ca.Ensure("me", filepki.Leaf{URIs: []string{uri}}); err != nil {
			t.Fatal(err)
		}
		c := client.Context{Cert: filepath.Join(dir, "me.pem"), Key: filepath.Join(dir, "me-key.pem")}
		if id, err := c.Identity(); err != nil || id.Principal != want || (id.Nameless == "") != (want != "") {
			t.Errorf("%s: %+v, %v", uri, id, err)
		}
	}
}
