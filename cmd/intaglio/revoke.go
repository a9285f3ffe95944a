package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/keyring"
)

// A revocation is one revoke command: what falls, and the flags.
type revocation struct {
	a         *app
	reach     keyring.Reach // names in their short form
	into      string
	reason    string
	confirm   string
	now       bool
	requestID string
	store     string // configuration of a store whose servers are dead
}

const revokeLong = `It is a dry run, which changes nothing and says what would fall, until it is repeated with the code the dry run printed. The code
stands for exactly what was shown; if that has changed meanwhile, nothing is done, unless --now says to cut whatever falls. Keys are cut
first and replaced after, so rings may not sign for a moment. A revoked key never comes back.

With -o json the dry run prints the impact; with -o name only the code. Exit status 7: revoked, but some ring has no signer yet.`

func newRevoke(a *app) *cobra.Command {
	verb := func(kind keyring.ScopeKind, arg, short, example string) *cobra.Command {
		r := &revocation{a: a}
		c := &cobra.Command{
			Use: kind.String() + " " + arg + " --reason TEXT [--confirm CODE]", Short: short,
			Long: short + ".\n\n" + revokeLong, Example: example, Args: takes(arg),
		}
		r.flags(c)
		c.RunE = func(c *cobra.Command, args []string) error {
			r.reach = keyring.Reach{Kind: kind, Name: cli.Short(args[0])}
			return r.run(c.Context())
		}
		return c
	}
	return family("revoke", "Revoke a key, a ring's, an issuer's or a backend's keys, for good",
		verb(keyring.OneKey, "KEY", "Revoke one key", "  intaglio revoke key payments/access/17 --reason INC-4411\n  intaglio revoke key payments/access/17 --reason INC-4411 --confirm 1-7F3A"),
		verb(keyring.OneRing, "RING", "Revoke every key of a ring", "  intaglio revoke ring payments/access --reason INC-4411"),
		verb(keyring.OneIssuer, "ISSUER", "Revoke every key of an issuer", "  intaglio revoke issuer payments --into software-b --reason INC-4411"),
		verb(keyring.OneBackend, "BACKEND", "Revoke every key made in a backend", "  intaglio revoke backend software --into software-b --reason INC-4411"),
	)
}

func newRevokeAll(a *app) *cobra.Command {
	r := &revocation{a: a, reach: keyring.Reach{Kind: keyring.All}}
	c := &cobra.Command{
		Use: "revoke-all [--into BACKEND] --reason TEXT [--confirm CODE]", Short: "Revoke every key there is, and make new ones",
		Long: "Revoke every key that was active before now, of every issuer and backend, and make new ones.\n\n" + revokeLong,
		Example: `  intaglio revoke-all --into software-b --reason INC-4411
  intaglio revoke-all --into software-b --reason INC-4411 --confirm 412-7F3A
  intaglio revoke-all --store /etc/intaglio/server.yaml --reason INC-4411     with every server dead`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c.Context()) },
	}
	r.flags(c)
	return c
}

func (r *revocation) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.reason, "reason", "", "why, for those who will read of it")
	f.StringVar(&r.into, "into", "", "`BACKEND` in which the rings make their next keys (default each in its own)")
	f.StringVar(&r.confirm, "confirm", "", "`CODE` that the dry run printed; without it nothing is changed")
	f.BoolVar(&r.now, "now", false, "with --confirm: cut whatever falls, even if that has changed since the dry run")
	f.StringVar(&r.requestID, "request-id", "", "`UUID` of a revocation whose answer was lost, to repeat it")
	f.StringVar(&r.store, "store", "", "work on the store of this server configuration `FILE` itself, with every server dead")
}

// run is the dry run, or the real one.
func (r *revocation) run(ctx context.Context) error {
	if r.confirm != "" && !cli.IsConfirmCode(r.confirm) {
		return cli.Misused(fmt.Sprintf("--confirm: %q is not a code such as 412-7F3A", r.confirm), "The dry run prints it:  %s", r.command())
	}
	if r.confirm != "" && r.reason == "" {
		return cli.Misused("a revocation needs --reason", "Say why:  %s --confirm %s", r.command(), r.confirm)
	}
	if r.store != "" {
		return r.runOffline(ctx)
	}
	return r.a.connected(ctx, func(ctx context.Context, c *client.Client) error {
		if r.confirm == "" {
			return r.preview(ctx, c)
		}
		return r.revoke(ctx, c)
	})
}

// command is what a person types to run this again, up to --confirm.
func (r *revocation) command() string {
	words := []string{"intaglio"}
	if r.a.contextFile != "" && r.store == "" {
		words = append(words, "--context", cli.ShellQuote(r.a.contextFile))
	}
	if r.reach.Kind == keyring.All {
		words = append(words, "revoke-all")
	} else {
		words = append(words, "revoke", r.reach.Kind.String(), cli.ShellQuote(r.reach.Name))
	}
	if r.store != "" {
		words = append(words, "--store", cli.ShellQuote(r.store))
	}
	if r.into != "" {
		words = append(words, "--into", cli.ShellQuote(r.into))
	}
	return strings.Join(append(words, "--reason", shown(r.reason)), " ")
}

func (r *revocation) scope() *pb.Scope {
	switch r.reach.Kind {
	case keyring.OneIssuer:
		return &pb.Scope{Scope: &pb.Scope_Issuer{Issuer: r.reach.Name}}
	case keyring.OneRing:
		return &pb.Scope{Scope: &pb.Scope_Ring{Ring: r.reach.Name}}
	case keyring.OneKey:
		return &pb.Scope{Scope: &pb.Scope_Key{Key: r.reach.Name}}
	case keyring.OneBackend:
		return &pb.Scope{Scope: &pb.Scope_Backend{Backend: r.reach.Name}}
	}
	return &pb.Scope{Scope: &pb.Scope_All{All: &emptypb.Empty{}}}
}

func (r *revocation) impact(ctx context.Context, c *client.Client) (*pb.Impact, error) {
	return c.Revocation.PreviewRevocation(ctx, &pb.PreviewRevocationRequest{Scope: r.scope(), IntoBackend: r.into})
}

func (r *revocation) preview(ctx context.Context, c *client.Client) error {
	impact, err := r.impact(ctx, c)
	if err != nil {
		return cli.Refused(err, "cannot tell what revoking "+r.reach.String()+" would do", r.reach.Name)
	}
	return r.a.printImpact(impact, r.command())
}

// revoke cuts, then watches until the rings sign again.
func (r *revocation) revoke(ctx context.Context, c *client.Client) error {
	req := &pb.RevokeRequest{Scope: r.scope(), Reason: r.reason, IntoBackend: r.into, CutFirst: true, RequestId: r.requestID}
	impact, err := r.impact(ctx, c)
	if err := r.agreed(impact, err); err != nil {
		return err
	}
	if !r.now && r.requestID == "" {
		req.ImpactDigest = impact.GetDigest()
	}
	if req.RequestId == "" {
		req.RequestId = uuid.NewString()
	}
	w := newWatch(ctx, c, r, impact)
	r.a.warn("operation %s: cutting %s", req.RequestId, r.reach)
	begun := time.Now()
	op, err := c.Revocation.Revoke(ctx, req)
	if err != nil {
		f := cli.Refused(err, "cannot tell whether "+r.reach.String()+" was revoked", r.reach.Name)
		if f.Code != cli.Unavailable {
			f.What = "did not revoke " + r.reach.String()
			return f
		}
		f.Next = "Repeat it with the same id, which is safe:  " + r.command() + " --confirm " + r.confirm + " --now --request-id " + req.RequestId +
			"\nNo server left?  on its machine:  intaglio revoke-all --store CONFIG --reason TEXT"
		return f
	}
	r.a.warn("cut at revision %s after %s", cli.Number(op.GetCutRevision()), cli.Span(time.Since(begun).Round(time.Millisecond)))
	left := w.wait(ctx, op.GetCutRevision())
	return r.a.printOperation(op, w, left, time.Since(begun))
}

// agreed holds the confirmation against what would fall now. With --now, and for a repeat, what falls may have changed, and even
// be unknown: the brake does not wait for a preview.
func (r *revocation) agreed(impact *pb.Impact, err error) error {
	forced := r.now || r.requestID != ""
	switch {
	case err != nil && forced && cli.Refused(err, "", "").Code == cli.Unavailable:
		r.a.warn("warning: cannot tell what will fall: %v", err)
		return nil
	case err != nil:
		return cli.Refused(err, "cannot tell what revoking "+r.reach.String()+" would do", r.reach.Name)
	}
	code := cli.ConfirmCode(impact.GetKeys(), impact.GetDigest())
	if code == r.confirm || r.requestID != "" {
		return nil // a repeat fells what it felled the first time
	}
	if forced {
		r.a.warn("warning: what falls is now %s (%s), not what %s stood for", cli.Count(impact.GetKeys(), "key"), code, r.confirm)
		return nil
	}
	f := codeFailure("revoke "+r.reach.String(), r.confirm, r.command())
	f.Why += ": " + cli.Count(impact.GetKeys(), "key") + " in " + cli.Count(impact.GetRings(), "ring") + " would fall"
	f.Next += "    To cut whatever falls, add --now."
	return f
}
