package server

import (
	"context"
	"errors"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/rotation"
)

// PlanRotation tells what rotation will do to one ring, to an issuer's, or to all, among those the caller may look at.
func (s *admin) PlanRotation(ctx context.Context, req *pb.PlanRotationRequest) (*pb.PlanRotationResponse, error) {
	snap, all, err := s.planned(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	lines, next, err := page("plans "+req.GetName(), req, all, lineName)
	if err != nil {
		return nil, err
	}
	res := &pb.PlanRotationResponse{NextPageToken: next}
	for _, line := range lines {
		res.Plans = append(res.Plans, planToProto(snap, line.Ring, s.plan(snap, line.Ring)))
	}
	return res, nil
}

// planned finds the rings that a name stands for: one, an issuer's by payments/-, or all by -/-.
func (s *admin) planned(ctx context.Context, name string) (*keyring.Snapshot, []*keyring.Line, error) {
	issuer, every := strings.CutSuffix(name, "/"+anyOne)
	if every {
		issuer = strings.TrimSuffix(strings.TrimPrefix(issuer, "issuers/"), "/rings")
		if issuer != anyOne && !keyring.ValidID(issuer) {
			return nil, nil, invalid("name", "%s does not name rings: payments/access, payments/- or -/-", quoted(name))
		}
		return s.visibleRings(ctx, issuer)
	}
	ring, err := ringIn("name", name)
	if err != nil {
		return nil, nil, err
	}
	snap, err := s.look(ctx, ring)
	if err != nil {
		return nil, nil, err
	}
	line, err := lineOf(snap, ring)
	return snap, []*keyring.Line{line}, err
}

// RotateRing moves a ring on now: it makes and publishes a successor, or has one that is published for long enough sign.
func (s *admin) RotateRing(ctx context.Context, req *pb.RotateRingRequest) (*pb.RotateRingResponse, error) {
	name, err := ringIn("name", req.GetName())
	if err != nil {
		return nil, err
	}
	a := act{method: "RotateRing", object: longRing(name), verb: keyring.Operate, target: name, dry: req.GetValidateOnly()}
	a.notes = []any{"reason", clip(req.GetReason(), maxReason), "request_id", clip(req.GetRequestId(), len("00000000-0000-4000-8000-000000000000"))}
	res, err := s.rotate(ctx, &a, name, req)
	s.note(ctx, &a, err)
	return res, err
}

// clip bounds what a caller may add to the log.
func clip(s string, most int) string { return s[:min(len(s), most)] }

func (s *admin) rotate(ctx context.Context, a *act, name string, req *pb.RotateRingRequest) (*pb.RotateRingResponse, error) {
	before, _, err := s.admit(ctx, a.verb, a.target)
	if err != nil {
		return nil, err
	}
	accept, err := accepted(req)
	if err != nil {
		return nil, err
	}
	line, err := lineOf(before, name)
	if err != nil {
		return nil, err
	}
	would, err := s.asked(before, line, accept)
	if err != nil {
		return nil, err
	}
	if a.dry {
		return &pb.RotateRingResponse{Done: stepsToProto(name, would), Plan: planToProto(before, line.Ring, s.plan(before, line.Ring))}, nil
	}
	err = s.rotator.Rotate(ctx, name, accept)
	if errors.Is(err, rotation.ErrNotPropagated) && would[len(would)-1].Kind == rotation.Mint {
		err = nil // the executor, which saw our reservation, minted it first: what was asked for is done
	}
	if err != nil {
		return nil, err
	}
	a.wrote = true
	after, err := s.live.Current()
	if err != nil {
		return nil, err
	}
	now, err := lineOf(after, name)
	if err != nil {
		return nil, err
	}
	return &pb.RotateRingResponse{
		Done: stepsToProto(name, taken(line.Ring, now.Ring)), Plan: planToProto(after, now.Ring, s.plan(after, now.Ring)),
	}, nil
}

// accepted reads for how long the caller is content to have a successor published; 0 leaves that to the ring.
func accepted(req *pb.RotateRingRequest) (time.Duration, error) {
	if err := checkRequestID(req.GetRequestId(), false); err != nil {
		return 0, err
	}
	if err := checkReason(req.GetReason(), req.GetPropagatedFor() != nil); err != nil {
		return 0, err
	}
	if req.GetPropagatedFor() == nil {
		return 0, nil
	}
	accept, err := seconds("propagated_for", req.GetPropagatedFor(), 0)
	return max(accept, 1), err // nothing at all is accepted too, and 0 means unset
}

// asked lists the steps that a rotation asked for now takes, or says why it takes none.
func (s *admin) asked(snap *keyring.Snapshot, line *keyring.Line, accept time.Duration) ([]rotation.Step, error) {
	ring, now := line.Ring, s.now()
	if ring.Scope.Usage == keyring.VerifyOnly {
		return nil, fail(pb.Reason_REASON_RING_USAGE_WRONG, "ring %s holds imported public keys; there is nothing to rotate", ring.Name)
	}
	step := func(kind rotation.Kind, serial uint64) rotation.Step {
		return rotation.Step{Kind: kind, Serial: serial, Due: now, Why: askedFor}
	}
	for i := range ring.Keys {
		k := &ring.Keys[i]
		if !k.Successor() || snap.Revoked(ring, k) {
			continue
		}
		if k.State == keyring.Reserved {
			return []rotation.Step{step(rotation.Mint, k.Serial)}, nil
		}
		return []rotation.Step{step(rotation.Activate, k.Serial)}, tooYoung(line, k, accept, now)
	}
	return []rotation.Step{step(rotation.Reserve, ring.NextSerial), step(rotation.Mint, ring.NextSerial)}, nil
}

// askedFor is why a step is taken before it is due.
const askedFor = "asked for"

// tooYoung refuses a successor that was not published for long enough, unless it is the signer already: then nothing
// else in the ring can sign, and there is nothing to wait for.
func tooYoung(line *keyring.Line, next *keyring.Key, accept time.Duration, now time.Time) error {
	want := line.Ring.Rotation.Propagation
	if accept > 0 {
		want = min(want, accept)
	}
	age := now.Sub(next.Staged)
	if age >= want || line.Signer == next {
		return nil
	}
	return fail(pb.Reason_REASON_NOT_PROPAGATED, "%s has been published for %s of %s: verifiers that have not fetched the key set since would refuse its tokens",
		keyring.KeyID(line.Ring.Name, next.Serial), span(age), span(want))
}

// span writes a duration as people do: 3h2m, 24h.
func span(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// taken tells from a ring's record before and after what was done to it.
func taken(before, after *keyring.Ring) []rotation.Step {
	var steps []rotation.Step
	add := func(kind rotation.Kind, k *keyring.Key, at time.Time) {
		steps = append(steps, rotation.Step{Kind: kind, Serial: k.Serial, Due: at, Why: askedFor})
	}
	for i := range after.Keys {
		k := &after.Keys[i]
		was := before.Key(k.Serial)
		if was == nil {
			was = &keyring.Key{}
			add(rotation.Reserve, k, k.Created)
		}
		if was.Staged.IsZero() && !k.Staged.IsZero() {
			add(rotation.Mint, k, k.Staged)
		}
		if k.Activated.After(was.Activated) {
			add(rotation.Activate, k, k.Activated)
		}
		if was.State != keyring.Revoked && k.State == keyring.Revoked {
			add(rotation.Revoke, k, k.Revoked)
		}
	}
	return steps
}
