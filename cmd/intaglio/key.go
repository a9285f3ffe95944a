package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/backends/software"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/cmd/intaglio/internal/config"
)

func newKey(a *app) *cobra.Command {
	list := &cobra.Command{
		Use: "list RING", Short: "List a ring's keys, newest first", Example: "  intaglio key list payments/access", Args: takes("RING"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			all := &pb.ListKeysResponse{}
			err := pages(func(token string) (string, error) {
				page, err := c.Admin.ListKeys(ctx, &pb.ListKeysRequest{Parent: args[0], PageSize: pageSize, PageToken: token})
				all.Keys = append(all.Keys, page.GetKeys()...)
				return page.GetNextPageToken(), err
			})
			if err != nil {
				return cli.Refused(err, "cannot list the keys of "+args[0], args[0])
			}
			return a.printer().Message(all, names(all.GetKeys()), func(w io.Writer) { keyTable(w, all.GetKeys()) })
		}),
	}
	get := &cobra.Command{
		Use: "get KEY", Short: "Show a key; never its private half", Example: "  intaglio key get payments/access/17", Args: takes("KEY"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			k, err := c.Admin.GetKey(ctx, &pb.GetKeyRequest{Name: args[0]})
			return a.keyAnswer(k, err, "read", args[0])
		}),
	}
	retain := &cobra.Command{
		Use: "retain KEY", Short: "Keep a key: rotation may not unpublish it, nothing may destroy it",
		Long:    "Keep a key: rotation may not unpublish it, and nothing may destroy it. Revoking it works all the same.",
		Example: "  intaglio key retain payments/access/17", Args: takes("KEY"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			k, err := c.Admin.RetainKey(ctx, &pb.RetainKeyRequest{Name: args[0]})
			return a.keyAnswer(k, err, "retain", args[0])
		}),
	}
	release := &cobra.Command{
		Use: "release KEY", Short: "Take retain back", Example: "  intaglio key release payments/access/17", Args: takes("KEY"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			k, err := c.Admin.ReleaseKey(ctx, &pb.ReleaseKeyRequest{Name: args[0]})
			return a.keyAnswer(k, err, "release", args[0])
		}),
	}
	return family("key", "Keys: list, get, retain, release; rewrap sealed ones", list, get, retain, release, newKEK(), newKeyRewrap(a))
}

func (a *app) keyAnswer(k *pb.Key, err error, verb, name string) error {
	if err != nil {
		return cli.Refused(err, fmt.Sprintf("cannot %s key %s", verb, name), name)
	}
	return a.printer().Message(k, []string{cli.Short(k.GetName())}, func(w io.Writer) { keyTable(w, []*pb.Key{k}) })
}

func keyTable(w io.Writer, keys []*pb.Key) {
	now := time.Now()
	var rows [][]string
	for _, k := range keys {
		state := cli.Enum(k.GetState(), "STATE_")
		if k.GetRetained() {
			state += ", retained"
		}
		if k.GetDestroyTime() != nil {
			state += ", destroyed"
		}
		protection := ""
		if k.GetProtection() != 0 {
			protection = cli.Enum(k.GetProtection(), "PROTECTION_")
		}
		rows = append(rows, []string{cli.Short(k.GetName()), state, cli.Stamp(k.GetStateTime(), now), k.GetAlgorithm(), k.GetBackend(), protection,
			cli.Stamp(k.GetWindow().GetSignUntil(), now), cli.Stamp(k.GetWindow().GetVerifyUntil(), now), k.GetKid()})
	}
	cli.Columns(w, []string{"KEY", "STATE", "SINCE", "ALGORITHM", "BACKEND", "PROTECTION", "SIGNS UNTIL", "VERIFIES UNTIL", "KID"}, rows)
}

func newKeyRewrap(a *app) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "rewrap --config FILE", Short: "Seal the software backend's keys under its newest key-encryption key",
		Long: `Seal every key of every software backend under the newest of its key-encryption keys. It works beside a running server, may be
stopped and repeated. To change key-encryption keys: add the file of the new one to keks: on all servers and restart them, rewrap, then
take the old one away.`,
		Example: "  intaglio key rewrap --config /etc/intaglio/server.yaml",
		Args:    takes(),
		PreRunE: func(c *cobra.Command, _ []string) error { return required(c, "config") },
		RunE:    func(c *cobra.Command, _ []string) error { return a.rewrap(c.Context(), path) },
	}
	c.Flags().StringVar(&path, "config", "", "the server's configuration `FILE`")
	return c
}

func newKEK() *cobra.Command {
	return &cobra.Command{
		Use: "new-kek FILE", Short: "Make a key-encryption key for the software backend",
		Long: `Make a key-encryption key in a new file that only its owner can read. It never replaces one. To change to it: add FILE to keks: in the
configuration beside the old one, restart the server, intaglio key rewrap, then take the old file out. Back it up apart from the database.`,
		Example: "  intaglio key new-kek /etc/intaglio/kek-2.key", Args: takes("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			kek := software.NewKEK(time.Now())
			if err := software.WriteKEK(args[0], kek); err != nil {
				return fileFailure(err, "cannot make a key-encryption key", args[0])
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "key-encryption key %s made in %s\n", kek.ID(), args[0])
			return err
		},
	}
}

// rewrapped is what came of one backend.
type rewrapped struct {
	Backend string `json:"backend"`
	Moved   int    `json:"moved"`
	Already int    `json:"already"`
}

func (a *app) rewrap(ctx context.Context, path string) error {
	cfg, err := config.Load(path)
	if err != nil {
		return configFailure(err)
	}
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	opened, err := openSoftware(ctx, cfg, store)
	if err != nil {
		return err
	}
	var done []rewrapped
	for _, name := range slices.Sorted(maps.Keys(opened)) {
		r := rewrapped{Backend: name}
		if r.Moved, r.Already, err = opened[name].Rewrap(ctx, nil); err != nil {
			f := backendFailure(err, cfg)
			f.What = "cannot seal every key of backend " + name + " anew"
			return f
		}
		done = append(done, r)
	}
	return a.printer().Value(done, nil, func(w io.Writer) {
		var rows [][]string
		for _, r := range done {
			rows = append(rows, []string{r.Backend, cli.Number(int64(r.Moved)), cli.Number(int64(r.Already))})
		}
		cli.Columns(w, []string{"BACKEND", "MOVED", "ALREADY UNDER THE NEWEST"}, rows)
	})
}
