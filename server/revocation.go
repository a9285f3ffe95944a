package server

import (
	"context"
	"errors"
	"slices"
	"time"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// revocation is intaglio.v1.RevocationService: the brake. It needs the store and nothing else, and waits for nobody.
type revocation struct {
	pb.UnsafeRevocationServiceServer
	*Server
}

// cutTime and confirmTime bound the two calls to the store that a revocation takes. A caller who goes away stops neither:
// who asked for the brake wants it pulled.
const (
	cutTime     = 15 * time.Second
	confirmTime = 3 * time.Second
)

// PreviewRevocation tells what Revoke would do now.
func (s *revocation) PreviewRevocation(ctx context.Context, req *pb.PreviewRevocationRequest) (*pb.Impact, error) {
	reach, target, err := reachIn(req.GetScope())
	if err != nil {
		return nil, err
	}
	snap, _, err := s.admit(ctx, keyring.Respond, target)
	if err != nil {
		return nil, err
	}
	im, err := s.judge(snap, reach, req.GetIntoBackend())
	if err != nil {
		return nil, err
	}
	return s.impactToProto(snap, &im), nil
}

// Revoke fells every key in scope with one write.
func (s *revocation) Revoke(ctx context.Context, req *pb.RevokeRequest) (*pb.Operation, error) {
	reach, target, err := reachIn(req.GetScope())
	if err != nil {
		return nil, err
	}
	a := act{method: "Revoke", object: reach.String(), verb: keyring.Respond, target: target}
	a.notes = []any{"reason", clip(req.GetReason(), maxReason), "into", clip(req.GetIntoBackend(), maxTyp), "operation", clip(req.GetRequestId(), maxTyp)}
	op, err := s.revoke(ctx, &a, reach, req)
	s.note(ctx, &a, err)
	return op, err
}

func (s *revocation) revoke(ctx context.Context, a *act, reach keyring.Reach, req *pb.RevokeRequest) (*pb.Operation, error) {
	snap, caller, err := s.admit(ctx, a.verb, a.target)
	if err != nil {
		return nil, err
	}
	if err := checkOrder(req); err != nil {
		return nil, err
	}
	c := keyring.Cutoff{
		Operation: req.GetRequestId(), Reach: reach, Into: req.GetIntoBackend(),
		Reason: req.GetReason(), Actor: caller, Time: s.now().UTC(),
	}
	snap, vain := s.inVain(ctx, snap, &c)
	if known := findCutoff(snap, c.Operation); known != nil {
		if !sameOrder(known, &c) {
			return nil, reused(c.Operation)
		}
		return s.confirm(ctx, snap, known), nil
	}
	im, err := s.judge(snap, reach, c.Into)
	if err != nil {
		return nil, err
	}
	if seen := req.GetImpactDigest(); seen != "" && seen != im.Digest() {
		return nil, fail(pb.Reason_REASON_IMPACT_GREW, "other keys would fall than you saw: %d keys in %d rings by now; look again", keyring.CountKeys(im.Fallen), len(im.Fallen))
	}
	if vain {
		return nil, fail(pb.Reason_REASON_KEY_STATE_WRONG, "nothing in reach is left to revoke: every key of %s is revoked already", reach)
	}
	if err := s.cut(ctx, &c); err != nil {
		return nil, err
	}
	a.wrote = true
	a.notes = append(a.notes, "revision", c.Revision, "keys", keyring.CountKeys(im.Fallen))
	return s.confirm(ctx, snap, &c), nil
}

// inVain reports whether c would change nothing at all, retired keys and homes of rings included. Only a snapshot that was
// read for the purpose may say so, and is returned: another replica may just have made a key, or have done this very
// revocation. If none can be read the brake is pulled.
func (s *revocation) inVain(ctx context.Context, snap *keyring.Snapshot, c *keyring.Cutoff) (*keyring.Snapshot, bool) {
	if !changesNothing(snap, *c) {
		return snap, false
	}
	newest, err := s.reread(ctx)
	if err != nil {
		return snap, false
	}
	return newest, changesNothing(newest, *c)
}

func changesNothing(snap *keyring.Snapshot, c keyring.Cutoff) bool {
	c.Revision = snap.Position.Revision + 1
	after := append(slices.Clip(snap.Cutoffs), c)
	return !slices.ContainsFunc(snap.Lines(), func(l *keyring.Line) bool {
		falls := func(k keyring.Key) bool { return c.Reach.Covers(l.Ring, &k) && !snap.Revoked(l.Ring, &k) }
		return after.Home(l.Ring) != snap.Cutoffs.Home(l.Ring) || slices.ContainsFunc(l.Ring.Keys, falls)
	})
}

// checkOrder holds what is asked against the form it must have.
func checkOrder(req *pb.RevokeRequest) error {
	if err := checkRequestID(req.GetRequestId(), true); err != nil {
		return err
	}
	if err := checkReason(req.GetReason(), true); err != nil {
		return err
	}
	if !req.GetCutFirst() {
		return invalid("cut_first", "cut_first must be true: rings may be without a signer until their next key is made, and that is written out")
	}
	return nil
}

// judge finds what a revocation is about, and holds the backend it moves to against what it replaces. Revoking
// everything needs nothing to exist.
func (s *Server) judge(snap *keyring.Snapshot, reach keyring.Reach, into string) (keyring.Impact, error) {
	if err := s.reachExists(snap, reach); err != nil {
		return keyring.Impact{}, err
	}
	im := keyring.ImpactOf(snap, reach, into, s.now())
	if into == "" {
		return im, nil
	}
	return im, s.checkInto(snap, &im)
}

// checkInto refuses a backend of lower standing than any key that falls, or than any ring asks for that would make its
// next key there.
func (s *Server) checkInto(snap *keyring.Snapshot, im *keyring.Impact) error {
	if im.Reach == (keyring.Reach{Kind: keyring.OneBackend, Name: im.Into}) {
		return invalid("into_backend", "backend %s is the one being revoked", quoted(im.Into))
	}
	has, err := s.backends.Protection(im.Into)
	if err != nil {
		return failField(pb.Reason_REASON_BACKEND_NOT_FOUND, "into_backend", "no backend %s is configured", quoted(im.Into))
	}
	least, whose := keyring.Protection(0), ""
	raise := func(p keyring.Protection, of string) {
		if p > least {
			least, whose = p, of
		}
	}
	for _, f := range im.Fallen {
		for _, k := range f.Keys {
			raise(k.Protection, "key "+keyring.KeyID(f.Line.Ring.Name, k.Serial)+" has")
		}
	}
	after := append(slices.Clip(snap.Cutoffs), keyring.Cutoff{Reach: im.Reach, Into: im.Into, Revision: snap.Position.Revision + 1})
	for _, line := range snap.Lines() {
		if after.Home(line.Ring) != snap.Cutoffs.Home(line.Ring) {
			raise(line.Ring.MinProtection, "ring "+line.Ring.Name+" asks for")
		}
	}
	if has < least {
		return failField(pb.Reason_REASON_PROTECTION_TOO_LOW, "into_backend", "backend %s gives %s protection, and %s %s: issue new keys from a store of equal or higher standing", im.Into, has, whose, least)
	}
	return nil
}

// cut raises c and notes its line. After an error it looks whether the cut took effect all the same; if nobody can tell,
// the caller is told so.
func (s *revocation) cut(ctx context.Context, c *keyring.Cutoff) error {
	if err := c.Validate(); err != nil {
		return invalid("scope", "%s", plain(err))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutTime)
	defer cancel()
	at, err := s.store.Cut(ctx, *c)
	if err == nil {
		c.Revision = at.Revision
		return nil
	}
	if errors.Is(err, keyring.ErrInvalid) { // c itself is valid: another cutoff has its name
		return reused(c.Operation)
	}
	if snap, err := s.reread(ctx); err == nil {
		if known := findCutoff(snap, c.Operation); known != nil && sameOrder(known, c) {
			*c = *known
			return nil
		}
	}
	return unsettled(err, "the store did not answer: the cut may have taken effect, or not. Repeat it with request_id %s; that is safe, and tells", c.Operation)
}

// confirm has this replica install the cut, and its anchor know it, before the answer says that nothing signs with a
// felled key any more. before is the newest snapshot there is if that fails.
func (s *revocation) confirm(ctx context.Context, before *keyring.Snapshot, c *keyring.Cutoff) *pb.Operation {
	snap, lost := s.reread(ctx)
	if lost != nil {
		op := operationToProto(before, c)
		op.Errors = []*rpcstatus.Status{asFault(unsettled(lost, "the cut is in the store, but this replica could not read it back")).status().Proto()}
		return op
	}
	if known := findCutoff(snap, c.Operation); known != nil {
		c = known // by whom and when it was first asked for
	}
	op := operationToProto(snap, c)
	op.State, op.ConfirmTime = pb.Operation_STATE_CONFIRMED, timestamppb.New(s.now())
	return op
}

// reread installs what the store holds now. It waits neither for the caller, who may have gone, nor longer than it
// says for a refresh of somebody else's that hangs.
func (s *revocation) reread(ctx context.Context) (*keyring.Snapshot, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), confirmTime)
	defer cancel()
	if err := s.live.Refresh(ctx); err != nil {
		return nil, err
	}
	return s.live.Current()
}

func findCutoff(snap *keyring.Snapshot, operation string) *keyring.Cutoff {
	i := slices.IndexFunc(snap.Cutoffs, func(c keyring.Cutoff) bool { return c.Operation == operation })
	if i < 0 {
		return nil
	}
	return &snap.Cutoffs[i]
}

// sameOrder compares what a request_id binds.
func sameOrder(a, b *keyring.Cutoff) bool {
	return a.Reach == b.Reach && a.Into == b.Into && a.Reason == b.Reason
}

func reused(operation string) error {
	return failField(pb.Reason_REASON_REQUEST_ID_REUSED, "request_id", "request_id %s was used to revoke something else, elsewhere or for another reason", operation)
}
