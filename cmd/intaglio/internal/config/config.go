// Package config reads the server's one configuration file, strictly: a key it does not know is an error with its line,
// secrets are paths of files and never values, and what contradicts itself is refused before anything is opened.
//
// Use [Load]. The comments on the fields are the manual of the file.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"intaglio.example/keyring"
)

// Config is the file. Relative paths are read from the folder the file is in. Durations are written 15s, 1m30s, 24h.
type Config struct {
	Listen   Listen    `yaml:"listen"`
	TLS      TLS       `yaml:"tls"`
	Store    Store     `yaml:"store"`
	Backends []Backend `yaml:"backends"`
	// Init is used once, by intaglio init.
	Init Init `yaml:"init,omitempty"`
	Log  Log  `yaml:"log,omitempty"`
	// Reflection lets clients ask for the description of the API.
	Reflection bool `yaml:"reflection,omitempty"`

	// Path is where the file is; it is not in the file.
	Path string `yaml:"-"`
}

// Listen is the addresses, host:port; an empty host is every address of the machine.
type Listen struct {
	// GRPC is always mutual TLS.
	GRPC string `yaml:"grpc"`
	// HTTP serves public keys, probes and metrics, over TLS unless the host is a loopback address.
	HTTP string `yaml:"http"`
}

// TLS is files in PEM.
type TLS struct {
	Cert string `yaml:"cert"`
	// Key must be its owner's alone: mode 0600.
	Key string `yaml:"key"`
	// ClientCA is the authorities whose client certificates are callers.
	ClientCA string `yaml:"client_ca"`
}

// Store is the database and what guards it.
type Store struct {
	// Path is the SQLite database.
	Path string `yaml:"path"`
	// MACKey is the key under which every row is authenticated, mode 0600. Keep it out of the database's backups.
	MACKey string `yaml:"mac_key"`
	// Anchor remembers how far this server has seen the store come. Never restore it from a backup.
	Anchor string `yaml:"anchor"`
}

// Backend is a place where keys live.
type Backend struct {
	// Name is what rings call it: [a-z][a-z0-9-]{0,39}.
	Name string `yaml:"name"`
	// Type is software.
	Type string `yaml:"type"`
	// KEKs are the files of key-encryption keys, mode 0600: the newest seals, all of them open.
	KEKs []string `yaml:"keks"`
}

// Init is the part that is written into the store when it is made.
type Init struct {
	Timing Timing `yaml:"timing,omitempty"`
}

// Timing is the clockwork of the store, the same for all its servers; see [keyring.Timing]. What is left out is 15 s, none
// and 1 min.
type Timing struct {
	SnapshotTTL  time.Duration `yaml:"snapshot_ttl,omitempty"`
	SharedCaches time.Duration `yaml:"shared_caches,omitempty"`
	MaxAge       time.Duration `yaml:"max_age,omitempty"`
}

// Log is what goes to stderr.
type Log struct {
	// Level is debug, info, warn or error; info when left out.
	Level slog.Level `yaml:"level,omitempty"`
	// Format is text or json; text when left out.
	Format string `yaml:"format,omitempty"`
}

// ErrInvalid: the file is not a configuration. The message has every complaint on a line of its own.
var ErrInvalid = errors.New("invalid configuration")

// Load reads and checks the file at path. ErrInvalid, or an error of the file system.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	c, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s\n%w", ErrInvalid, path, err)
	}
	c.Path = absolute
	c.resolve(filepath.Dir(absolute))
	return c, nil
}

func parse(text []byte) (*Config, error) {
	c := &Config{}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, plain(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("a second document follows the first")
	}
	return c, errors.Join(c.complaints()...)
}

var (
	unknownKey = regexp.MustCompile(`field (\S+) not found in type config\.(\w+)`)
	wrongType  = regexp.MustCompile(`cannot unmarshal !!(\w+ ?.*) into (.*)`)
)

// plain puts the YAML library's findings in the words of the file.
func plain(err error) error {
	lines := []string{err.Error()}
	if typed := (*yaml.TypeError)(nil); errors.As(err, &typed) {
		lines = typed.Errors
	}
	for i, l := range lines {
		l = strings.TrimPrefix(l, "yaml: ")
		l = unknownKey.ReplaceAllString(l, "unknown key $1")
		lines[i] = wrongType.ReplaceAllString(l, "cannot read $1 as $2")
	}
	return errors.New(strings.Join(lines, "\n"))
}

// complaints checks what can be known without opening anything.
func (c *Config) complaints() (all []error) {
	complain := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	for _, required := range []struct{ key, value string }{
		{"listen.grpc", c.Listen.GRPC}, {"listen.http", c.Listen.HTTP},
		{"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA},
		{"store.path", c.Store.Path}, {"store.mac_key", c.Store.MACKey}, {"store.anchor", c.Store.Anchor},
	} {
		if required.value == "" {
			complain("%s is missing", required.key)
		}
	}
	for _, address := range []struct{ key, value string }{{"listen.grpc", c.Listen.GRPC}, {"listen.http", c.Listen.HTTP}} {
		if _, _, err := net.SplitHostPort(address.value); address.value != "" && err != nil {
			complain("%s: %v", address.key, err)
		}
	}
	if c.Log.Format != "" && c.Log.Format != "text" && c.Log.Format != "json" {
		complain("log.format: %q is neither text nor json", c.Log.Format)
	}
	if err := c.Timing().Validate(); err != nil {
		complain("init.timing: %v", err)
	}
	return append(all, c.backendComplaints()...)
}

func (c *Config) backendComplaints() (all []error) {
	complain := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if len(c.Backends) == 0 {
		complain("backends is empty: keys need a place to live")
	}
	for i, b := range c.Backends {
		switch {
		case !keyring.ValidID(b.Name):
			complain("backends[%d].name: %q does not match [a-z][a-z0-9-]{0,39}", i, b.Name)
		case slices.ContainsFunc(c.Backends[:i], func(other Backend) bool { return other.Name == b.Name }):
			complain("backends[%d].name: there are two called %s", i, b.Name)
		case b.Type != "software":
			complain("backends[%d].type: %q is not one this program knows: software", i, b.Type)
		case len(b.KEKs) == 0:
			complain("backends[%d].keks is empty: %s needs the file of a key-encryption key", i, b.Name)
		}
	}
	return all
}

// Timing is what a new store is made with.
func (c *Config) Timing() keyring.Timing {
	t := keyring.DefaultTiming()
	if c.Init.Timing.SnapshotTTL != 0 {
		t.SnapshotTTL = c.Init.Timing.SnapshotTTL
	}
	if c.Init.Timing.MaxAge != 0 {
		t.MaxAge = c.Init.Timing.MaxAge
	}
	t.SharedCaches = c.Init.Timing.SharedCaches
	return t
}

// resolve makes every path absolute.
func (c *Config) resolve(dir string) {
	paths := []*string{&c.TLS.Cert, &c.TLS.Key, &c.TLS.ClientCA, &c.Store.Path, &c.Store.MACKey, &c.Store.Anchor}
	for i := range c.Backends {
		for j := range c.Backends[i].KEKs {
			paths = append(paths, &c.Backends[i].KEKs[j])
		}
	}
	for _, p := range paths {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// Loopback reports whether address, host:port, can be reached from this machine only.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
