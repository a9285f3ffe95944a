package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strings"

	"intaglio.example/backends"
	"intaglio.example/backends/software"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
)

// openStore opens the store that a configuration names. The error is a failure for people.
func openStore(ctx context.Context, cfg *config.Config) (*sqlstore.Store, error) {
	key, err := secret.ReadFile(cfg.Store.MACKey)
	if err != nil {
		return nil, fileFailure(err, "cannot read the MAC key of the store", cfg.Store.MACKey)
	}
	store, err := sqlstore.Open(ctx, cfg.Store.Path, key)
	if err != nil {
		f := storeFailure(err, cfg)
		if errors.Is(err, keyring.ErrTampered) {
			f.Reason, f.Next = "MAC_KEY_WRONG", "Check store.mac_key first: most likely it is another store's. If it is the right one, do not trust this database."
		}
		return nil, f
	}
	return store, nil
}

// openAnchor opens the anchor that a configuration names.
func openAnchor(cfg *config.Config) (*keyring.Anchor, error) {
	anchor, err := keyring.OpenAnchor(cfg.Store.Anchor)
	if err == nil {
		return anchor, nil
	}
	f := fileFailure(err, "cannot tell whether the store went back in time", cfg.Store.Anchor)
	switch {
	case errors.Is(err, keyring.ErrNoAnchor):
		f.Reason = "ANCHOR_MISSING"
		f.Why = "there is no anchor at " + cfg.Store.Anchor + "; without it, an old copy of the database looks like the real one"
		f.Next = "Moved?  check store.anchor.    A new server for a store you trust?  intaglio store anchor --config " + cli.ShellQuote(cfg.Path)
	case errors.Is(err, keyring.ErrInvalid):
		f.Reason = "ANCHOR_DAMAGED"
		f.Next = "Look at the store first:  intaglio store verify --config FILE.    If you trust it, move the anchor away and make a new one:  intaglio store anchor --config " + cli.ShellQuote(cfg.Path)
	}
	return nil, f
}

// openSoftware opens the software backends of a configuration, by name.
func openSoftware(ctx context.Context, cfg *config.Config, store *sqlstore.Store) (map[string]*software.Backend, error) {
	named := map[string]*software.Backend{}
	for _, b := range cfg.Backends {
		if b.Type != "software" {
			continue
		}
		var keks []software.KEK
		for _, path := range b.KEKs {
			kek, err := software.ReadKEK(path)
			if err != nil {
				return nil, fileFailure(err, "cannot read a key-encryption key of backend "+b.Name, path)
			}
			keks = append(keks, kek)
		}
		backend, err := software.New(ctx, b.Name, shelf{store.Sealed(), b.Name + "/"}, keks...)
		if err != nil {
			return nil, backendFailure(err, cfg)
		}
		named[b.Name] = backend
	}
	return named, nil
}

// openBackends opens all backends of a configuration.
func openBackends(ctx context.Context, cfg *config.Config, store *sqlstore.Store) (*backends.Set, error) {
	opened, err := openSoftware(ctx, cfg, store)
	if err != nil {
		return nil, err
	}
	named := map[string]backends.Backend{}
	for name, b := range opened {
		named[name] = b
	}
	set, err := backends.NewSet(named)
	if err != nil {
		return nil, backendFailure(err, cfg)
	}
	return set, nil
}

// A shelf is the part of the sealed keys that belongs to one backend: backends have key-encryption keys of their own, and
// must not meet each other's keys.
type shelf struct {
	software.Sealed
	prefix string // of labels; ends in a slash, which no label holds
}

func (s shelf) Put(ctx context.Context, label string, blob []byte) ([]byte, error) {
	return s.Sealed.Put(ctx, s.prefix+label, blob)
}

func (s shelf) Get(ctx context.Context, label string) ([]byte, bool, error) {
	return s.Sealed.Get(ctx, s.prefix+label)
}

func (s shelf) Replace(ctx context.Context, label string, old, new []byte) (bool, error) {
	return s.Sealed.Replace(ctx, s.prefix+label, old, new)
}

func (s shelf) Delete(ctx context.Context, label string) error {
	return s.Sealed.Delete(ctx, s.prefix+label)
}

func (s shelf) Labels(ctx context.Context) ([]string, error) {
	all, err := s.Sealed.Labels(ctx)
	var own []string
	for _, l := range all {
		if label, ok := strings.CutPrefix(l, s.prefix); ok {
			own = append(own, label)
		}
	}
	return own, err
}

// localActor is who works on a store without a server, as far as this machine knows.
func localActor() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	name := fmt.Sprintf("uid-%d", os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return "local:" + name + "@" + host
}

func configFailure(err error) *cli.Failure {
	f := &cli.Failure{
		What: "cannot use the configuration", Reason: "CONFIG_INVALID", Why: err.Error(), Code: cli.Usage, Cause: err,
		Next: "Correct it; every complaint is listed. Durations are written 15s or 1h30m, and secrets are paths of files.",
	}
	if errors.Is(err, fs.ErrNotExist) {
		f.Reason, f.Next = "CONFIG_MISSING", "Name the file with --config; to try things out without one:  intaglio dev"
	}
	return f
}

// fileFailure is about a file that guards something.
func fileFailure(err error, what, path string) *cli.Failure {
	f := &cli.Failure{What: what, Reason: "FILE_UNUSABLE", Why: err.Error(), Code: cli.Failed, Cause: err, Next: "Look at " + path}
	switch {
	case errors.Is(err, secret.ErrExposed):
		f.Reason = "FILE_EXPOSED"
		f.Next = "Run the chmod it names. If others could read the file, replace the key in it."
	case errors.Is(err, fs.ErrNotExist):
		f.Reason, f.Next = "FILE_MISSING", "Check the path in the configuration; a backup of it may be where intaglio init told you to keep one."
	case errors.Is(err, fs.ErrPermission):
		f.Reason, f.Next = "FILE_DENIED", "Run it as the user who owns "+path
	}
	return f
}

func backendFailure(err error, cfg *config.Config) *cli.Failure {
	f := &cli.Failure{
		What: "cannot open the backends", Reason: "BACKEND_UNUSABLE", Why: err.Error(), Code: cli.Failed, Cause: err,
		Next: "Check backends: in " + cfg.Path,
	}
	if errors.Is(err, software.ErrNoKEK) {
		f.Reason, f.Next = "KEK_MISSING", "Add the file of the key-encryption key it names to keks: in "+cfg.Path+", or restore it from its backup."
	}
	return f
}

// storeFailure is about the store as a whole.
func storeFailure(err error, cfg *config.Config) *cli.Failure {
	f := &cli.Failure{
		What: "cannot use the store " + cfg.Store.Path, Reason: "STORE_UNUSABLE", Why: err.Error(), Code: cli.Failed, Cause: err,
		Next: "Look at the file, its owner and the disk; then:  intaglio store verify --config " + cli.ShellQuote(cfg.Path),
	}
	switch {
	case errors.Is(err, keyring.ErrNotInitialised):
		f.Reason = "STORE_NOT_INITIALISED"
		f.Next = "Wrong path?  check store.path.    Really new?  intaglio init --config " + cli.ShellQuote(cfg.Path) + " --admin PRINCIPAL"
	case errors.Is(err, keyring.ErrNewerSchema):
		f.Reason, f.Next = "STORE_NEWER", "Use the release that wrote it, or a newer one. This one is "+version+"."
	case errors.Is(err, keyring.ErrTampered):
		f.Reason = "STORE_TAMPERED"
		f.Next = "Do not serve from it. See what else:  intaglio store verify --config " + cli.ShellQuote(cfg.Path) + "    then restore a backup and intaglio store adopt."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		f.Reason, f.Code, f.Next = "STORE_UNAVAILABLE", cli.Unavailable, "It may have been done. Repeat the command: that is safe."
	}
	return f
}

// wentBack is a store that is behind its anchor, or is another one.
func wentBack(err error, cfg *config.Config, store string, at keyring.Position, anchor *keyring.Anchor) *cli.Failure {
	f := &cli.Failure{Reason: "STORE_WENT_BACK", Code: cli.Failed, Cause: err,
		What: fmt.Sprintf("the store is at revision %s; this machine has seen %s (anchor %s)",
			cli.Number(int64(at.Revision)), cli.Number(int64(anchor.Position().Revision)), cfg.Store.Anchor),
		Why: "Somebody restored a backup, or a failover lost writes. Keys revoked since would be trusted again. Not serving.",
		Next: "Right store, wrong path?  check store.path.    Really restored?  intaglio store adopt --config " + cli.ShellQuote(cfg.Path) + " --reason TEXT\n" +
			"(adopt raises the revision past " + cli.Number(int64(anchor.Position().Revision)) + " and cuts every key the backup knows)",
	}
	if anchor.Store() != store {
		f.What = fmt.Sprintf("this is store %s; the anchor %s belongs to store %s", store, cfg.Store.Anchor, anchor.Store())
	}
	return f
}
