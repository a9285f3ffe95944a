package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
)

// An offlineCut is a revocation in the store itself. It needs the database and the MAC key, and no server.
type offlineCut struct {
	*revocation
	cfg   *config.Config
	store *sqlstore.Store
	// anchor is nil when the store may not raise it: doubt, a failure for people, says why. A cut is made all the same, but
	// one on a store that went back must not make that store look like the real one.
	anchor *keyring.Anchor
	doubt  *cli.Failure
}

func (r *revocation) runOffline(ctx context.Context) error {
	cfg, err := config.Load(r.store)
	if err != nil {
		return configFailure(err)
	}
	if err := r.checkInto(cfg); err != nil {
		return err
	}
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	o := &offlineCut{revocation: r, cfg: cfg, store: store}
	if o.anchor, err = agreeingAnchor(ctx, cfg, store); err != nil {
		if !errors.As(err, &o.doubt) {
			return err
		}
		r.a.warn("warning: %s: %s. %s", o.doubt.Reason, o.doubt.What, o.doubt.Why)
	}
	impact, err := o.look(ctx)
	if err != nil {
		return err
	}
	if r.confirm == "" {
		return r.a.printImpact(impact, r.command())
	}
	if err := r.agreed(impact, nil); err != nil {
		return err
	}
	return o.cut(ctx, impact)
}

// checkInto refuses a backend that no server of this configuration would have.
func (r *revocation) checkInto(cfg *config.Config) error {
	switch {
	case r.into == "":
		return nil
	case !hasBackend(cfg, r.into):
		return absent("BACKEND_NOT_FOUND", r.into, "no backend "+r.into+" is configured in "+cfg.Path,
			"See backends: in "+cfg.Path)
	case r.reach == keyring.Reach{Kind: keyring.OneBackend, Name: r.into}:
		return cli.Misused("--into: backend "+r.into+" is the one being revoked", "Name another of backends: in %s", cfg.Path)
	}
	return nil
}

func hasBackend(cfg *config.Config, name string) bool {
	return slices.ContainsFunc(cfg.Backends, func(b config.Backend) bool { return b.Name == name })
}

// look tells what would fall. When that cannot be told, the brake is pulled blindly only by somebody who said --now.
func (o *offlineCut) look(ctx context.Context) (*pb.Impact, error) {
	snap, err := wholeStore(ctx, o.cfg, o.store)
	if err != nil && (o.confirm == "" || !o.now) {
		return nil, err
	}
	if err != nil {
		o.a.warn("warning: cannot tell what will fall: %v", err)
		return &pb.Impact{}, nil
	}
	repeated := slices.ContainsFunc(snap.Cutoffs, func(c keyring.Cutoff) bool { return c.Operation == o.requestID })
	if err := o.reachExists(snap); err != nil && !repeated {
		return nil, err
	}
	im := keyring.ImpactOf(snap, o.reach, o.into, time.Now())
	impact := impactMessage(snap, &im)
	if o.doubt != nil {
		impact.OutOfReach = append([]string{o.doubt.Reason + ": " + o.doubt.What}, impact.OutOfReach...)
	}
	return impact, nil
}

// reachExists finds what the revocation is about, as a server does. Everything always exists.
func (o *offlineCut) reachExists(snap *keyring.Snapshot) error {
	name := o.reach.Name
	covered := func(l *keyring.Line) bool {
		return slices.ContainsFunc(l.Ring.Keys, func(k keyring.Key) bool { return o.reach.Covers(l.Ring, &k) })
	}
	found, reason := true, ""
	switch o.reach.Kind {
	case keyring.OneIssuer:
		_, found = snap.Issuer(name)
		reason = "ISSUER_NOT_FOUND"
	case keyring.OneRing:
		_, found = snap.Line(name)
		reason = "RING_NOT_FOUND"
	case keyring.OneKey:
		found = slices.ContainsFunc(snap.Lines(), covered)
		reason = "KEY_NOT_FOUND"
	case keyring.OneBackend:
		used := func(l *keyring.Line) bool { return l.Ring.Backend == name || covered(l) }
		found = hasBackend(o.cfg, name) || slices.ContainsFunc(snap.Lines(), used)
		reason = "BACKEND_NOT_FOUND"
	}
	if found {
		return nil
	}
	return absent(reason, o.reach.String(), "there is no "+o.reach.String()+" in the store "+o.cfg.Store.Path,
		"Check its name; to revoke everything there is:  intaglio revoke-all --store "+cli.ShellQuote(o.cfg.Path))
}

// cut raises the cutoff, then has the anchor know of it.
func (o *offlineCut) cut(ctx context.Context, impact *pb.Impact) error {
	c := keyring.Cutoff{Operation: o.requestID, Reach: o.reach, Into: o.into, Reason: o.reason, Actor: localActor(), Time: now()}
	if c.Operation == "" {
		c.Operation = uuid.NewString()
	}
	at, err := o.store.Cut(ctx, c)
	if err != nil {
		f := storeFailure(err, o.cfg)
		f.What = "cannot tell whether " + o.reach.String() + " was revoked"
		f.Next = "Repeat it with the same id, which is safe:  " + o.command() + " --confirm " + o.confirm + " --now --request-id " + c.Operation
		return f
	}
	left := o.raiseAnchor(ctx)
	if err := o.report(&c, at, impact, left); err != nil {
		return err
	}
	if left != nil {
		return left
	}
	return nil
}

// raiseAnchor has the anchor follow the store, unless there is a doubt about the store. Nil, or what is left to do.
func (o *offlineCut) raiseAnchor(ctx context.Context) *cli.Failure {
	f := o.doubt
	if f == nil {
		err := keyring.NewLive(o.store, o.anchor, slog.New(slog.DiscardHandler), nil).Refresh(ctx)
		if err == nil {
			return nil
		}
		f = firstLook(ctx, err, o.cfg, o.store, o.anchor)
	}
	left := *f
	left.Code, left.Verdict = cli.Left, true
	left.What = "revoked, but the anchor was not raised: " + f.What
	return &left
}

// report says what was done, in the shape of what a server answers.
func (o *offlineCut) report(c *keyring.Cutoff, at keyring.Position, impact *pb.Impact, left *cli.Failure) error {
	op := &pb.Operation{
		Name: "operations/" + c.Operation, State: pb.Operation_STATE_CUT, Verb: "revoke", Scope: o.scope(), Actor: c.Actor, Reason: c.Reason,
		IntoBackend: c.Into, CutRevision: int64(at.Revision), CutTime: timestamppb.New(c.Time), Keys: impact.GetKeys(), Rings: impact.GetRings(),
	}
	servers := "those that run obey within " + cli.Span(o.store.Timing().SnapshotTTL) + "; one that starts obeys at once, and makes new keys"
	if left != nil {
		op.Errors = []*rpcstatus.Status{{Code: int32(codes.FailedPrecondition), Message: left.Reason + ": " + left.What}}
		servers += ", if it starts: see below"
	}
	return o.a.printer().Message(op, []string{c.Operation}, func(w io.Writer) {
		cli.Facts(w, "REVOKED", fmt.Sprintf("%s in %s by one cut at revision %s, straight in the store",
			cli.Count(op.GetKeys(), "key"), cli.Count(op.GetRings(), "ring"), cli.Number(op.GetCutRevision())),
			"SERVERS", servers, "OPERATION", c.Operation)
	})
}

// absent is something that is not there, under the reason a server would give.
func absent(reason, name, why, next string) *cli.Failure {
	return &cli.Failure{What: "cannot revoke " + name, Reason: reason, Why: why, Next: next, Code: cli.NotFound}
}

// impactMessage words an impact as a server's preview does, from the store alone.
func impactMessage(snap *keyring.Snapshot, im *keyring.Impact) *pb.Impact {
	out := &pb.Impact{
		Revision: int64(im.Revision), Digest: im.Digest(), Keys: keyring.CountKeys(im.Fallen), Rings: int64(len(im.Fallen)),
		LastTokenExpireTime: stampOf(im.Last),
	}
	for _, s := range im.Silenced {
		issuer, ring, _ := keyring.SplitRing(s.Line.Ring.Name) // a name from the store is a valid one
		out.Worst = append(out.Worst, &pb.RingImpact{
			Ring: "issuers/" + issuer + "/rings/" + ring, Keys: int64(len(s.Keys)), Backend: s.Home, LastTokenExpireTime: stampOf(s.Last),
		})
	}
	out.OutOfReach = []string{
		fmt.Sprintf("Servers that run obey within %s, their snapshot TTL.", cli.Span(snap.Timing.SnapshotTTL)),
		fmt.Sprintf("Caches that obey Cache-Control accept old keys for %s after that.", cli.Span(snap.Timing.MaxAge+snap.Timing.SharedCaches)),
		"Verifiers that never ask again accept old tokens until they expire.",
	}
	return out
}

func stampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
