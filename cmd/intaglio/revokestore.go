package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
)

// runOffline raises the cutoff in the store itself. It needs the database and the MAC key, and no server.
func (r *revocation) runOffline(ctx context.Context) error {
	cfg, err := config.Load(r.store)
	if err != nil {
		return configFailure(err)
	}
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	snap, err := wholeStore(ctx, cfg, store)
	if err != nil && (r.confirm == "" || !r.now) {
		return err
	}
	impact := &pb.Impact{}
	if err == nil {
		impact = offlineImpact(snap, r.reach, r.into)
	} else {
		r.a.warn("warning: cannot tell what will fall: %v", err)
	}
	if r.confirm == "" {
		return r.a.printImpact(impact, r.command())
	}
	if err := r.agreed(impact, nil); err != nil {
		return err
	}
	return r.cutOffline(ctx, cfg, store, impact)
}

func (r *revocation) cutOffline(ctx context.Context, cfg *config.Config, store *sqlstore.Store, impact *pb.Impact) error {
	c := keyring.Cutoff{Operation: r.requestID, Reach: r.reach, Into: r.into, Reason: r.reason, Actor: localActor(), Time: now()}
	if c.Operation == "" {
		c.Operation = uuid.NewString()
	}
	at, err := store.Cut(ctx, c)
	if err != nil {
		f := storeFailure(err, cfg)
		f.What = "cannot tell whether " + r.reach.String() + " was revoked"
		f.Next = "Repeat it with the same id, which is safe:  " + r.command() + " --confirm " + r.confirm + " --now --request-id " + c.Operation
		return f
	}
	fmt.Fprintf(r.a.stdout, "REVOKED    %s in %s by one cut at revision %s, straight in the store\n", cli.Count(impact.GetKeys(), "key"), cli.Count(impact.GetRings(), "ring"), cli.Number(int64(at.Revision)))
	fmt.Fprintf(r.a.stdout, "SERVERS    those that run obey within %s; one that starts obeys at once, and makes new keys\n", cli.Span(store.Timing().SnapshotTTL))
	fmt.Fprintf(r.a.stdout, "OPERATION  %s\n", c.Operation)
	if err := raiseAnchor(cfg, store.ID(), at); err != nil {
		return &cli.Failure{
			What: "revoked, but the anchor does not know of it", Reason: "SOMETHING_LEFT", Code: cli.Left, Verdict: true, Cause: err,
			Why: err.Error(), Next: "A server of this store raises its anchor by itself. If none will run:  intaglio store verify --config " + cli.ShellQuote(cfg.Path),
		}
	}
	return nil
}

func raiseAnchor(cfg *config.Config, store string, at keyring.Position) error {
	anchor, err := keyring.OpenAnchor(cfg.Store.Anchor)
	if err != nil {
		return err
	}
	return anchor.Raise(store, at)
}

// offlineImpact is what a server's preview would say, from the store alone.
func offlineImpact(s *keyring.Snapshot, reach keyring.Reach, into string) *pb.Impact {
	i := &pb.Impact{Revision: int64(s.Position.Revision)}
	var keys []string
	var last time.Time
	for _, l := range s.Lines() {
		fallen, ringLast := fallen(s, l, reach)
		if len(fallen) == 0 {
			continue
		}
		keys = append(keys, fallen...)
		last = latest(last, ringLast)
		i.Rings++
		if l.Signer == nil || !reach.Covers(l.Ring, l.Signer) {
			continue
		}
		home := into
		if home == "" {
			home = s.Cutoffs.Home(l.Ring)
		}
		i.Worst = append(i.Worst, &pb.RingImpact{
			Ring: "issuers/" + l.Ring.Issuer() + "/rings/" + l.Ring.Name[len(l.Ring.Issuer())+1:], Keys: int64(len(fallen)),
			Backend: home, LastTokenExpireTime: timestamppb.New(ringLast), // of its signer, so never zero
		})
	}
	slices.Sort(keys)
	i.Keys, i.Digest = int64(len(keys)), cli.Digest(append([]string{"revoke", reach.String(), into}, keys...)...)
	if !last.IsZero() {
		i.LastTokenExpireTime = timestamppb.New(last)
	}
	i.OutOfReach = []string{
		fmt.Sprintf("Servers that run obey within %s, their snapshot TTL.", cli.Span(s.Timing.SnapshotTTL)),
		fmt.Sprintf("Caches that obey Cache-Control accept old keys for %s after that.", cli.Span(s.Timing.MaxAge+s.Timing.SharedCaches)),
		"Verifiers that never ask again accept old tokens until they expire.",
	}
	return i
}

// fallen lists the keys of a ring that would fall, and until when a token of theirs could live.
func fallen(s *keyring.Snapshot, l *keyring.Line, reach keyring.Reach) (ids []string, last time.Time) {
	for k := range l.Ring.Keys {
		key := &l.Ring.Keys[k]
		if key.Dead() || s.Revoked(l.Ring, key) || !reach.Covers(l.Ring, key) {
			continue
		}
		ids = append(ids, keyring.KeyID(l.Ring.Name, key.Serial))
		if key == l.Signer {
			last = latest(last, time.Now().Add(key.Scope.MaxTTL))
		} else if end := key.Retiring.Add(key.Scope.MaxTTL); key.State == keyring.Retiring && end.After(time.Now()) {
			last = latest(last, end)
		}
	}
	return ids, last
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
