package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/cmd/intaglio/internal/durable"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
)

func newStore(a *app) *cobra.Command {
	var path, reason, confirm string
	verb := func(c *cobra.Command, do func(context.Context, *config.Config) error) *cobra.Command {
		c.Args = takes()
		c.Flags().StringVar(&path, "config", "", "the server's configuration `FILE`")
		c.PreRunE = func(c *cobra.Command, _ []string) error { return required(c, "config") }
		c.RunE = func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return configFailure(err)
			}
			return do(c.Context(), cfg)
		}
		return c
	}
	verify := verb(&cobra.Command{
		Use: "verify --config FILE", Short: "Walk through the whole store: every MAC, the history, the archive",
		Example: "  intaglio store verify --config /etc/intaglio/server.yaml",
	}, a.verifyStore)
	adopt := verb(&cobra.Command{
		Use: "adopt --config FILE --reason TEXT", Short: "Open a restored store: goes past the anchor, and revokes every key the backup knows",
		Long: `Open a store that was restored from a backup. Nobody knows what was revoked after the backup was made, so every key in it is revoked,
and the revision goes past what this machine has seen. New keys are made when the servers start. A dry run until it is confirmed.`,
		Example: "  intaglio store adopt --config /etc/intaglio/server.yaml --reason INC-4411",
	}, func(ctx context.Context, cfg *config.Config) error { return a.adoptStore(ctx, cfg, reason, confirm) })
	adopt.Flags().StringVar(&reason, "reason", "", "why, for those who will read of it")
	adopt.Flags().StringVar(&confirm, "confirm", "", "`CODE` that the dry run printed")
	anchor := verb(&cobra.Command{
		Use: "anchor --config FILE", Short: "Make a missing anchor: from then on this machine trusts the store as it is",
		Example: "  intaglio store anchor --config /etc/intaglio/server.yaml",
	}, func(ctx context.Context, cfg *config.Config) error { return a.anchorStore(ctx, cfg, confirm) })
	anchor.Flags().StringVar(&confirm, "confirm", "", "`CODE` that the dry run printed")
	return family("store", "The database: verify, adopt, anchor", verify, adopt, anchor)
}

func (a *app) verifyStore(ctx context.Context, cfg *config.Config) error {
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	report, err := store.Verify(ctx)
	if err != nil {
		return storeFailure(err, cfg)
	}
	agrees, err := a.compareAnchor(ctx, cfg, store)
	if err != nil {
		return err
	}
	return a.printer().Value(report, []string{report.Store}, func(w io.Writer) {
		count := func(n int) string { return cli.Number(int64(n)) }
		cli.Facts(w, "store", report.Store+"   every row, MAC and digest is as it was written", "position", report.Position.String(), "anchor", agrees,
			"schema", count(report.Schema), "issuers", count(report.Issuers), "rings", count(report.Rings), "grants", count(report.Grants),
			"cutoffs", count(report.Cutoffs), "keys", count(report.Keys)+" in rings, "+count(report.Archived)+" in the archive",
			"kids", count(report.Kids)+" ever recorded", "writes", count(report.Writes), "sealed keys", count(report.Sealed))
	})
}

// compareAnchor holds the store against the anchor, as a server does when it starts.
func (a *app) compareAnchor(ctx context.Context, cfg *config.Config, store *sqlstore.Store) (string, error) {
	anchor, err := agreeingAnchor(ctx, cfg, store)
	if errors.Is(err, keyring.ErrNoAnchor) {
		a.warn("warning: there is no anchor at %s, so nothing tells whether this is an old copy.", cfg.Store.Anchor)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return "agrees, " + anchor.Position().String(), nil
}

// agreeingAnchor opens the anchor and asks whether the store's history leads on from its position. The error is a failure
// for people, and then there is no anchor that may follow this store.
func agreeingAnchor(ctx context.Context, cfg *config.Config, store *sqlstore.Store) (*keyring.Anchor, error) {
	anchor, err := openAnchor(cfg)
	if err != nil {
		return nil, err
	}
	_, err = store.Changes(ctx, anchor.Position())
	if err == nil && anchor.Store() != store.ID() {
		err = keyring.ErrRollback
	}
	if err != nil {
		return nil, firstLook(ctx, err, cfg, store, anchor)
	}
	return anchor, nil
}

// wholeStore reads everything, unverified against any anchor.
func wholeStore(ctx context.Context, cfg *config.Config, store *sqlstore.Store) (*keyring.Snapshot, error) {
	c, err := store.Changes(ctx, keyring.Position{})
	if err != nil {
		return nil, storeFailure(err, cfg)
	}
	s, err := keyring.NewSnapshot(c)
	if err != nil {
		return nil, storeFailure(err, cfg)
	}
	return s, nil
}

func (a *app) adoptStore(ctx context.Context, cfg *config.Config, reason, confirm string) error {
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	anchor, err := openAnchor(cfg)
	if err != nil {
		return err
	}
	snap, err := wholeStore(ctx, cfg, store)
	if err != nil {
		return err
	}
	seen := anchor.Position()
	impact := keyring.ImpactOf(snap, keyring.Reach{Kind: keyring.All}, "", time.Now())
	keys, rings := keyring.CountKeys(impact.Fallen), int64(len(impact.Fallen))
	code := cli.ConfirmCode(keys, cli.Digest("adopt", snap.Store, snap.Position.String(), seen.String()))
	again := "intaglio store adopt --config " + cli.ShellQuote(cfg.Path) + " --reason " + shown(reason)
	if confirm == "" {
		dry := storeDryRun{Store: snap.Store, Position: snap.Position, Anchor: &seen, Keys: keys, Rings: rings, Confirm: code}
		return a.printer().Value(dry, []string{code}, func(w io.Writer) {
			fmt.Fprintf(w, "DRY RUN. Nothing has been changed.\n\n")
			cli.Facts(w, "store", snap.Store+" at "+snap.Position.String(), "anchor", "store "+anchor.Store()+" at "+seen.String(),
				"REVOKED", cli.Count(keys, "key")+" in "+cli.Count(rings, "ring")+": every one that this copy knows",
				"THEN", "the revision goes past "+cli.Number(int64(max(seen.Revision, snap.Position.Revision)))+", and the anchor follows it",
				"LOST", "rings, grants and keys written after this copy was made. Grants deleted since are back: look at them")
			fmt.Fprintf(w, "\nStop every server of this store first. To do it:\n  %s --confirm %s\n", again, code)
		})
	}
	if reason == "" {
		return cli.Misused("intaglio store adopt needs --reason", "Say why:  %s --confirm %s", again, confirm)
	}
	if confirm != code {
		return codeFailure("adopt the store", confirm, again)
	}
	return a.adoptNow(ctx, cfg, store, &impact, seen, reason)
}

// adoptNow adopts a store that no server serves, and has the anchor follow it.
func (a *app) adoptNow(ctx context.Context, cfg *config.Config, store *sqlstore.Store, impact *keyring.Impact, seen keyring.Position, reason string) error {
	lock, err := lockStore(cfg)
	if err != nil {
		return err
	}
	defer lock.Close()
	operation := uuid.NewString()
	to, err := store.Adopt(ctx, seen, operation, localActor(), reason, now())
	if err != nil {
		return storeFailure(err, cfg)
	}
	if err := replaceAnchor(cfg.Store.Anchor, store.ID(), to); err != nil {
		f := fileFailure(err, "the store was adopted, but the anchor could not be replaced", cfg.Store.Anchor)
		f.Code, f.Next = cli.Left, "Move the anchor away, then:  intaglio store anchor --config "+cli.ShellQuote(cfg.Path)
		return f
	}
	done := adoptedStore{Store: store.ID(), Position: to, Operation: operation, Keys: keyring.CountKeys(impact.Fallen), Rings: int64(len(impact.Fallen))}
	return a.printer().Value(done, []string{done.Store}, func(w io.Writer) {
		fmt.Fprintf(w, "ADOPTED  store %s at %v. %s revoked. Servers make new ones when they start.\n", done.Store, to, cli.Count(done.Keys, "key"))
		fmt.Fprintf(w, "next:    look at the grants once a server runs:  intaglio grant list\n")
	})
}

// storeDryRun is what adopting a store, or trusting it, would do.
type storeDryRun struct {
	Store    string            `json:"store"`
	Position keyring.Position  `json:"position"`
	Anchor   *keyring.Position `json:"anchor,omitempty"` // what it goes past
	Keys     int64             `json:"keys"`             // that would be revoked
	Rings    int64             `json:"rings"`
	Confirm  string            `json:"confirm"`
}

// adoptedStore is what came of it.
type adoptedStore struct {
	Store     string           `json:"store"`
	Position  keyring.Position `json:"position"`
	Operation string           `json:"operation"`
	Keys      int64            `json:"keys"`
	Rings     int64            `json:"rings"`
}

// codeFailure is a confirmation of something else than what would happen now.
func codeFailure(what, code, again string) *cli.Failure {
	return &cli.Failure{
		What: "did not " + what, Reason: "IMPACT_CHANGED", Code: cli.Conflict,
		Why:  "what would happen now is not what " + code + " stands for; nothing was done",
		Next: "Look again, then confirm what you see:  " + again,
	}
}

// replaceAnchor puts a new anchor in the place of the old: written beside it, then renamed over it.
func replaceAnchor(path, store string, at keyring.Position) error {
	fresh := path + ".adopted"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := keyring.CreateAnchor(fresh, store, at); err != nil {
		return err
	}
	return durable.Rename(fresh, path)
}

func (a *app) anchorStore(ctx context.Context, cfg *config.Config, confirm string) error {
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := os.Lstat(cfg.Store.Anchor); !errors.Is(err, fs.ErrNotExist) {
		return &cli.Failure{
			What: "there is an anchor at " + cfg.Store.Anchor, Reason: "ANCHOR_EXISTS", Code: cli.Conflict, Cause: err,
			Why: "An anchor is never replaced by what a store says of itself.", Next: "A restored store is opened by:  intaglio store adopt --config " + cli.ShellQuote(cfg.Path),
		}
	}
	report, err := store.Verify(ctx)
	if err != nil {
		return storeFailure(err, cfg)
	}
	code := cli.ConfirmCode(int64(report.Position.Revision), cli.Digest("anchor", report.Store, report.Position.String()))
	again := "intaglio store anchor --config " + cli.ShellQuote(cfg.Path)
	if confirm == "" {
		dry := storeDryRun{Store: report.Store, Position: report.Position, Confirm: code}
		return a.printer().Value(dry, []string{code}, func(w io.Writer) {
			fmt.Fprintf(w, "DRY RUN. Nothing has been written.\n\n")
			cli.Facts(w, "store", report.Store, "TRUSTED", report.Position.String()+", as it stands in the database now",
				"LOST", "the memory of anything later: if this is an old copy, keys revoked since are trusted again")
			fmt.Fprintf(w, "\nCompare the position with another server's anchor. To trust it:\n  %s --confirm %s\n", again, code)
		})
	}
	if confirm != code {
		return codeFailure("make the anchor", confirm, again)
	}
	if _, err := keyring.CreateAnchor(cfg.Store.Anchor, report.Store, report.Position); err != nil {
		return fileFailure(err, "cannot make the anchor", cfg.Store.Anchor)
	}
	return a.printer().Value(madeStore{report.Store, report.Position}, []string{report.Store}, func(w io.Writer) {
		fmt.Fprintf(w, "anchor %s trusts store %s at %v\n", cfg.Store.Anchor, report.Store, report.Position)
	})
}

// shown is a reason as it stands in a command to repeat.
func shown(reason string) string {
	if reason == "" {
		return "TEXT"
	}
	return cli.ShellQuote(reason)
}
