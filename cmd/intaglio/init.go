package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"intaglio.example/backends/software"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
)

func newInit(a *app) *cobra.Command {
	var path, admin string
	c := &cobra.Command{
		Use: "init --config FILE --admin PRINCIPAL", Short: "Make the store: once, on purpose",
		Long: `Make the store that a configuration names, with one grant: the admin may do everything. The MAC key, the key-encryption keys and the
anchor are made too where there are none. Servers never make a store; one that finds none stops.`,
		Example: "  intaglio init --config /etc/intaglio/server.yaml --admin spiffe://example.org/user/ana",
		Args:    takes(),
		PreRunE: func(c *cobra.Command, _ []string) error { return required(c, "config", "admin") },
		RunE:    func(c *cobra.Command, _ []string) error { return a.initStore(c.Context(), path, admin) },
	}
	c.Flags().StringVar(&path, "config", "", "the server's configuration `FILE`")
	c.Flags().StringVar(&admin, "admin", "", "the first administrator: the URI SAN of a client certificate, or dns:host")
	return c
}

func (a *app) initStore(ctx context.Context, path, admin string) error {
	cfg, err := config.Load(path)
	if err != nil {
		return configFailure(err)
	}
	grant := keyring.Grant{Name: "admin", Principal: admin, Verbs: everyVerb(), Rings: []string{"*"}, Created: now()}
	made, err := makeStore(ctx, cfg, keyring.Edit{Grants: []keyring.Grant{grant}})
	if err != nil {
		return err
	}
	return a.printer().Value(made, []string{made.Store}, func(w io.Writer) {
		fmt.Fprintf(w, "store %s made, at %v. %s may do everything in it.\n\n", made.Store, made.Position, cli.Clean(admin))
		fmt.Fprintln(w, "BACK UP")
		cli.Facts(w,
			"  often, together", cfg.Store.Path,
			"  once, and elsewhere", cfg.Store.MACKey+"   without it the store cannot be opened",
		)
		for _, b := range cfg.Backends {
			for _, k := range b.KEKs {
				fmt.Fprintf(w, "  %s   without it no key of %s signs. Never beside the database\n", k, b.Name)
			}
		}
		fmt.Fprintf(w, "NEVER RESTORE\n  %s   it is what tells a restored database from the real one\n\n", cfg.Store.Anchor)
		fmt.Fprintf(w, "next:  intaglio serve --config %s\nthen:  intaglio issuer create NAME --url URL    and    intaglio ring create NAME/RING --audience AUD\n", cli.ShellQuote(path))
	})
}

// everyVerb is what the first administrator may do.
func everyVerb() []keyring.Verb {
	return []keyring.Verb{keyring.Sign, keyring.Verify, keyring.Operate, keyring.Respond, keyring.Approve, keyring.Admin, keyring.Audit}
}

// now is the time as the store writes it.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// madeStore is a store that this machine trusts from now on, at that position.
type madeStore struct {
	Store    string           `json:"store"`
	Position keyring.Position `json:"position"`
}

// makeStore makes the store of a configuration, with e in it: first the keys, where there are none, then the store, then the
// anchor. What was interrupted can be repeated, except that a store whose anchor is missing takes intaglio store anchor.
func makeStore(ctx context.Context, cfg *config.Config, e keyring.Edit) (*madeStore, error) {
	if err := nothingThere(cfg); err != nil {
		return nil, err
	}
	if err := foldersThere(cfg); err != nil {
		return nil, err
	}
	mac, err := ensureMACKey(cfg.Store.MACKey)
	if err != nil {
		return nil, fileFailure(err, "cannot make the MAC key of the store", cfg.Store.MACKey)
	}
	for _, b := range cfg.Backends {
		if err := ensureKEK(b); err != nil {
			return nil, fileFailure(err, "cannot make the key-encryption key of backend "+b.Name, b.KEKs[0])
		}
	}
	id, at, err := sqlstore.Init(ctx, cfg.Store.Path, mac, cfg.Timing(), e)
	if errors.Is(err, keyring.ErrRefused) {
		return nil, alreadyThere(cfg, err)
	}
	if err != nil {
		f := storeFailure(err, cfg)
		f.What = "cannot make the store " + cfg.Store.Path
		if errors.Is(err, keyring.ErrInvalid) {
			f.Next = "Correct what it names and repeat the command."
		}
		return nil, f
	}
	if _, err := keyring.CreateAnchor(cfg.Store.Anchor, id, at); err != nil {
		return nil, fileFailure(err, "the store was made, but not its anchor", cfg.Store.Anchor)
	}
	return &madeStore{id, at}, nil
}

// nothingThere refuses to make a store over the remains of one.
func nothingThere(cfg *config.Config) error {
	_, storeErr := os.Lstat(cfg.Store.Path)
	_, keyErr := os.Lstat(cfg.Store.MACKey)
	_, anchorErr := os.Lstat(cfg.Store.Anchor)
	switch {
	case storeErr == nil && (keyErr != nil || anchorErr == nil):
		return alreadyThere(cfg, nil)
	case anchorErr == nil:
		return &cli.Failure{
			What: "there was a store here: its anchor is at " + cfg.Store.Anchor, Reason: "STORE_MISSING", Code: cli.Conflict,
			Why:  "The database " + cfg.Store.Path + " is gone. A new, empty one would forget every revocation.",
			Next: "Wrong path?  check store.path.    Restored elsewhere?  put it back, then intaglio store adopt.    Really start over?  move the anchor away.",
		}
	case !errors.Is(storeErr, fs.ErrNotExist) && storeErr != nil:
		return fileFailure(storeErr, "cannot look for a store", cfg.Store.Path)
	}
	return nil
}

// foldersThere makes sure that nothing will be missing halfway.
func foldersThere(cfg *config.Config) error {
	files := []string{cfg.Store.Path, cfg.Store.MACKey, cfg.Store.Anchor}
	for _, b := range cfg.Backends {
		files = append(files, b.KEKs...)
	}
	for _, file := range files {
		if _, err := os.Stat(filepath.Dir(file)); err != nil {
			return &cli.Failure{
				What: "cannot make " + file, Reason: "FOLDER_MISSING", Why: err.Error(), Code: cli.Failed, Cause: err,
				Next: "Nothing was made yet. Make the folder, open to its owner only:  mkdir -m 700 -p " + cli.ShellQuote(filepath.Dir(file)),
			}
		}
	}
	return nil
}

func alreadyThere(cfg *config.Config, cause error) *cli.Failure {
	return &cli.Failure{
		What: "there is a store at " + cfg.Store.Path, Reason: "STORE_EXISTS", Code: cli.Conflict, Cause: cause,
		Why:  "A store is made once; making it again would forget every revocation.",
		Next: "Serve from it:  intaglio serve --config " + cli.ShellQuote(cfg.Path) + "    or look at it:  intaglio store verify --config " + cli.ShellQuote(cfg.Path),
	}
}

// macKeyBytes is the length of the store's MAC key.
const macKeyBytes = 32

func ensureMACKey(path string) (secret.Bytes, error) {
	key, err := secret.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	fresh := make([]byte, macKeyBytes)
	rand.Read(fresh) // never fails
	key = secret.New(fresh)
	return key, secret.WriteFile(path, key)
}

// ensureKEK makes the key-encryption key of a backend that has none. One that is missing beside others was lost, and is not
// replaced.
func ensureKEK(b config.Backend) error {
	if len(b.KEKs) != 1 {
		return nil
	}
	if _, err := os.Lstat(b.KEKs[0]); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return software.WriteKEK(b.KEKs[0], software.NewKEK(time.Now()))
}
