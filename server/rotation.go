package server

import (
	"context"
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
	if a.dry {
		would, err := rotation.Asked(line.Ring, before.Cutoffs, s.now(), accept)
		if err != nil {
			return nil, err
		}
		return &pb.RotateRingResponse{Done: stepsToProto(name, would), Plan: planToProto(before, line.Ring, s.plan(before, line.Ring))}, nil
	}
	done, err := s.rotator.Rotate(ctx, name, accept)
	a.wrote = len(done) > 0
	if err != nil {
		return nil, err
	}
	after, err := s.live.Current()
	if err != nil {
		return nil, err
	}
	now, err := lineOf(after, name)
	if err != nil {
		return nil, err
	}
	return &pb.RotateRingResponse{Done: stepsToProto(name, done), Plan: planToProto(after, now.Ring, s.plan(after, now.Ring))}, nil
}

// accepted reads for how long the caller is content to have a successor published; nil leaves that to the ring.
func accepted(req *pb.RotateRingRequest) (*time.Duration, error) {
	if err := checkRequestID(req.GetRequestId(), false); err != nil {
		return nil, err
	}
	if err := checkReason(req.GetReason(), req.GetPropagatedFor() != nil); err != nil {
		return nil, err
	}
	if req.GetPropagatedFor() == nil {
		return nil, nil
	}
	accept, err := seconds("propagated_for", req.GetPropagatedFor(), 0)
	return &accept, err
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
