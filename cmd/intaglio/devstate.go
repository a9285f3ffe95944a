package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/cmd/intaglio/internal/durable"
	"intaglio.example/cmd/intaglio/internal/filepki"
	"intaglio.example/keyring"
)

// The names of the trial installation.
const (
	demoIssuer   = "demo"
	demoURL      = "https://demo.test"
	demoRing     = "demo/access"
	demoAudience = "https://api.demo.test"
	demoBackend  = "software"
	spareBackend = "software-b"
	demoAdmin    = "spiffe://demo.test/admin"
	demoApp      = "spiffe://demo.test/app"
)

// A devState is a folder with everything a trial server needs, locked for one process.
type devState struct {
	dir  string
	cfg  *config.Config
	lock *os.File
}

// openDevState makes what is missing in dir, and keeps the rest. Close it.
func openDevState(ctx context.Context, dir string) (*devState, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &devState{dir: absolute}
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.fill(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// fill makes what is missing.
func (s *devState) fill(ctx context.Context) error {
	// Whoever waits for this file must not find the addresses of the server before.
	if err := os.Remove(s.path("endpoints.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileFailure(err, "cannot take back the addresses of the server before", s.path("endpoints.json"))
	}
	if err := s.certificates(); err != nil {
		return fileFailure(err, "cannot make certificates", s.dir)
	}
	if err := s.configure(); err != nil {
		return err
	}
	return s.store(ctx)
}

// Close lets another process have the folder.
func (s *devState) Close() error { return s.lock.Close() }

func (s *devState) path(name string) string { return filepath.Join(s.dir, name) }

// makeDir makes the folder its owner's alone. A folder with other things in it is left as it is, and not used.
func (s *devState) makeDir() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fileFailure(err, "cannot make the folder for the state", s.dir)
	}
	info, err := os.Lstat(s.dir)
	if err != nil {
		return fileFailure(err, "cannot look at the folder for the state", s.dir)
	}
	if err := guardDir(info, s.dir); err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fileFailure(err, "cannot look at the folder for the state", s.dir)
	}
	if _, err := os.Lstat(s.path("lock")); err != nil && len(entries) > 0 {
		return exposedDir(s.dir, "others than you can look into it, and it holds other things already")
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return fileFailure(err, "cannot make the folder for the state yours alone", s.dir)
	}
	return nil
}

// guardDir refuses a folder into which others can have put something: what lies there decides what this server trusts.
func guardDir(info fs.FileInfo, dir string) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return exposedDir(dir, "it is no folder, but a link or a file")
	case !ok || int(owner.Uid) != os.Geteuid():
		return exposedDir(dir, "it belongs to somebody else")
	case info.Mode().Perm()&0o022 != 0:
		return exposedDir(dir, "others than you can write into it, and may have done so")
	}
	return nil
}

func exposedDir(dir, why string) error {
	return &cli.Failure{
		What: "will not keep keys in " + dir, Reason: "FILE_EXPOSED", Code: cli.Failed, Why: why,
		Next: "Name a folder of its own, which need not exist:  intaglio dev --dir DIR",
	}
}

func (s *devState) takeLock() error {
	f, err := lockFile(s.path("lock"))
	if errors.Is(err, errLocked) {
		return &cli.Failure{
			What: "another intaglio dev runs on " + s.dir, Reason: "STATE_IN_USE", Code: cli.Conflict, Cause: err,
			Why: "two servers that make keys for one trial folder would surprise each other", Next: "Use that one, stop it, or name another folder:  intaglio dev --dir DIR",
		}
	}
	if err != nil {
		return fileFailure(err, "cannot lock the state", s.path("lock"))
	}
	s.lock = f
	return nil
}

// certificates makes an authority, the server's certificate, and those of two clients.
func (s *devState) certificates() error {
	ca, err := filepki.Open(s.dir, time.Now())
	if err != nil {
		return err
	}
	return errors.Join(
		ca.Ensure("server", filepki.Leaf{Server: true, DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}),
		ca.Ensure("admin", filepki.Leaf{URIs: []string{demoAdmin}}),
		ca.Ensure("app", filepki.Leaf{URIs: []string{demoApp}}),
	)
}

// configure writes server.yaml the first time, so that every verb that takes --config can be tried on it, and so that it can
// be edited.
func (s *devState) configure() error {
	path := s.path("server.yaml")
	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeDevConfig(path); err != nil {
			return fileFailure(err, "cannot write the configuration", path)
		}
		cfg, err = config.Load(path)
	}
	if err != nil {
		return configFailure(err)
	}
	s.cfg = cfg
	return nil
}

func writeDevConfig(path string) error {
	var c config.Config
	c.Listen = config.Listen{GRPC: "127.0.0.1:7443", HTTP: "127.0.0.1:7480"}
	c.TLS = config.TLS{Cert: "server.pem", Key: "server-key.pem", ClientCA: "ca.pem"}
	c.Store = config.Store{Path: "intaglio.db", MACKey: "mac.key", Anchor: "anchor"}
	c.Backends = []config.Backend{
		{Name: demoBackend, Type: "software", KEKs: []string{"kek.key"}},
		{Name: spareBackend, Type: "software", KEKs: []string{"kek-b.key"}},
	}
	c.Init.Timing = config.Timing{SnapshotTTL: 2 * time.Second, MaxAge: time.Second}
	c.Log.Level = 4 // warn: what goes well is not news here
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return durable.Write(path, append([]byte("# Of intaglio dev. NOT FOR PRODUCTION. --grpc and --http go before listen.\n"), text...), 0o600)
}

// store makes the store the first time, with an issuer, a ring, and grants for both clients. It is there once its anchor is: a
// start that was killed leaves a database without a table, or none, and no anchor. A whole store without an anchor is left
// for the server to refuse.
func (s *devState) store(ctx context.Context) error {
	_, storeErr := os.Lstat(s.cfg.Store.Path)
	_, anchorErr := os.Lstat(s.cfg.Store.Anchor)
	if storeErr == nil && anchorErr == nil {
		return nil
	}
	_, err := makeStore(ctx, s.cfg, demoRows(now()))
	if errors.Is(err, keyring.ErrRefused) {
		return nil
	}
	return err
}

func demoRows(at time.Time) keyring.Edit {
	return keyring.Edit{
		Issuers: []keyring.Issuer{{Name: demoIssuer, URL: demoURL, Created: at}},
		Rings: []keyring.Ring{{
			Name: demoRing,
			Scope: keyring.Scope{
				Typ: "at+jwt", Usage: keyring.Tokens, Audiences: keyring.Audiences{Exact: []string{demoAudience}}, MaxTTL: time.Hour,
			},
			Algorithm: "ES256", Backend: demoBackend, MinProtection: keyring.Software, DefaultTTL: time.Hour,
			Rotation: keyring.Rotation{Lifetime: 14 * 24 * time.Hour, Propagation: 5 * time.Second, Skew: time.Second},
			Created:  at, NextSerial: 1,
		}},
		Grants: []keyring.Grant{
			{Name: "admin", Principal: demoAdmin, Verbs: everyVerb(), Rings: []string{"*"}, Created: at},
			{Name: "app", Principal: demoApp, Verbs: []keyring.Verb{keyring.Sign, keyring.Verify}, Rings: []string{demoIssuer + "/*"}, Created: at},
		},
	}
}

// publish tells clients where the server is: contexts for the command line, and endpoints.json, the last and the one to wait for.
func (s *devState) publish(b bound) error {
	for name, identity := range map[string]string{"context.yaml": "admin", "app-context.yaml": "app"} {
		c := client.Context{
			Server: b.grpc, HTTP: b.http, CA: "ca.pem", Cert: identity + ".pem", Key: identity + "-key.pem", Issuer: demoIssuer,
		}
		if err := c.Write(s.path(name)); err != nil {
			return err
		}
	}
	return durable.Write(s.path("endpoints.json"), fmt.Appendf(nil, "{\"grpc\":%q,\"http\":%q}\n", b.grpc, b.http), 0o600)
}
