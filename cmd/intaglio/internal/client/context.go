// Package client is the command line as a caller: the contexts that say which server it talks to and as whom, and the connection.
//
// Use [Find] for the context in effect, and [Context.Dial] for the services behind it.
package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"intaglio.example/cmd/intaglio/internal/durable"
)

// A Context is a file that names one server and one identity. Relative paths in it are read from its own folder, so that a folder
// can be moved as a whole.
type Context struct {
	// Server is the gRPC address, host:port.
	Server string `yaml:"server"`
	// ServerName is whom the server's certificate must be for; the host of Server when empty.
	ServerName string `yaml:"server_name,omitempty"`
	// HTTP is the base URL of the public keys; only shown.
	HTTP string `yaml:"http,omitempty"`
	// CA is the authorities that may vouch for the server. Cert and Key are who we are. All are files in PEM.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Issuer is the one that verify takes when it cannot look it up.
	Issuer string `yaml:"issuer,omitempty"`

	// Path is the file itself, and From says why it is the one in effect; neither is in the file.
	Path string `yaml:"-"`
	From string `yaml:"-"`
}

// What can be wrong with a context.
var (
	// ErrNone: nothing says which context to use.
	ErrNone = errors.New("no context is chosen")
	// ErrInvalid: the file is not a context.
	ErrInvalid = errors.New("not a context")
)

// Load reads the context at path.
func Load(path string) (*Context, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Context{}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
	}
	if c.Server == "" || c.CA == "" || c.Cert == "" || c.Key == "" {
		return nil, fmt.Errorf("%w: %s needs server, ca, cert and key", ErrInvalid, path)
	}
	if c.Path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	for _, p := range []*string{&c.CA, &c.Cert, &c.Key} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(c.Path), *p)
		}
	}
	return c, nil
}

// Write puts a context at path, whole or not at all. Its paths are written as they are.
func (c Context) Write(path string) error {
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return durable.Write(path, text, 0o644)
}

// Find returns the context in effect: the file flag names, else the one INTAGLIO_CONTEXT names, else the one chosen with
// [Known.Use]. ErrNone when none of them says anything.
func Find(flag string, getenv func(string) string) (*Context, error) {
	path, from := flag, "--context"
	if path == "" {
		path, from = getenv("INTAGLIO_CONTEXT"), "INTAGLIO_CONTEXT"
	}
	if path == "" {
		known, err := ReadKnown(getenv)
		if err != nil {
			return nil, err
		}
		path, from = known.Current, "intaglio context use"
	}
	if path == "" {
		return nil, ErrNone
	}
	c, err := Load(path)
	if err != nil {
		return nil, err
	}
	c.From = from
	return c, nil
}

// Known is the contexts a person has used on this machine, and the one chosen last: a file in their configuration folder.
type Known struct {
	Current string   `yaml:"current,omitempty"`
	Files   []string `yaml:"files,omitempty"`

	path string
}

// ReadKnown reads the list: $XDG_CONFIG_HOME/intaglio/contexts.yaml, or ~/.config/intaglio/contexts.yaml. No file is an
// empty list.
func ReadKnown(getenv func(string) string) (*Known, error) {
	dir := getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return &Known{}, nil
		}
		dir = filepath.Join(home, ".config")
	}
	k := &Known{path: filepath.Join(dir, "intaglio", "contexts.yaml")}
	text, err := os.ReadFile(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		err = yaml.Unmarshal(text, k)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, k.path, err)
	}
	return k, nil
}

// Use makes path, which must be an absolute one, the chosen context, and remembers it.
func (k *Known) Use(path string) error {
	if k.path == "" {
		return errors.New("neither XDG_CONFIG_HOME nor HOME is set, so there is no place to remember it")
	}
	k.Current = path
	if !slices.Contains(k.Files, path) {
		k.Files = append(k.Files, path)
	}
	text, err := yaml.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return err
	}
	return durable.Write(k.path, text, 0o644)
}
