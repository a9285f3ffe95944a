package server

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/backends"
	"intaglio.example/keyring"
	"intaglio.example/rotation"
)

// CreateRing makes a ring. Rotation sees it at once and makes its first key.
func (s *admin) CreateRing(ctx context.Context, req *pb.CreateRingRequest) (*pb.Ring, error) {
	issuer, err := issuerIn("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	if err := idIn("ring_id", req.GetRingId()); err != nil {
		return nil, err
	}
	name := issuer + "/" + req.GetRingId()
	a := act{method: "CreateRing", object: longRing(name), verb: keyring.Admin, target: name, dry: req.GetValidateOnly()}
	var made *keyring.Ring
	snap, err := s.write(ctx, &a, func(snap *keyring.Snapshot) (e keyring.Edit, err error) {
		if made, err = s.newRing(snap, name, req); err != nil {
			return e, err
		}
		o := origin{object: a.object, requestID: made.Request}
		if was, taken := snap.Line(name); taken {
			o.taken, o.by, o.same = true, was.Ring.Request, sameSettings(was.Ring, made)
		}
		if repeat, err := o.repeats(snap); repeat || err != nil {
			return e, err
		}
		if err := s.checkBackend(made.Backend, made.MinProtection); err != nil {
			return e, err
		}
		if _, err := keyring.Advance(nil, *made, snap.Cutoffs, snap.Timing, snap.Position.Revision+1); err != nil {
			return e, invalid("ring", "%s", plain(err))
		}
		return keyring.Edit{Rings: []keyring.Ring{*made}}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.showRing(snap, made), nil
}

// newRing reads a ring that is to be made: every setting, each with its default.
func (s *admin) newRing(snap *keyring.Snapshot, name string, req *pb.CreateRingRequest) (*keyring.Ring, error) {
	if err := misnamed("ring.name", req.GetRing().GetName(), longRing(name)); err != nil {
		return nil, err
	}
	if err := checkRequestID(req.GetRequestId(), false); err != nil {
		return nil, err
	}
	r := &keyring.Ring{Name: name, Request: req.GetRequestId(), Created: s.now().UTC(), NextSerial: 1}
	if err := setOrigin(r, req.GetRing()); err != nil {
		return nil, err
	}
	for _, setting := range settings {
		if err := setting.set(s, r, req.GetRing()); err != nil {
			return nil, err
		}
	}
	if _, err := issuerOf(snap, r.Issuer()); err != nil {
		return nil, err
	}
	if err := r.Validate(snap.Timing); err != nil {
		return nil, invalid("ring", "%s", plain(err))
	}
	return r, nil
}

// checkBackend holds the backend in which a ring's next key is to be made against the protection the ring asks for.
func (s *Server) checkBackend(name string, least keyring.Protection) error {
	has, err := s.backends.Protection(name)
	if errors.Is(err, backends.ErrUnknownBackend) {
		return failField(pb.Reason_REASON_BACKEND_NOT_FOUND, "ring.backend", "no backend %s is configured; there are %s", quoted(name), strings.Join(s.backends.Names(), ", "))
	}
	if err == nil && has < least {
		return failField(pb.Reason_REASON_PROTECTION_TOO_LOW, "ring.backend", "backend %s gives %s protection, and the ring asks for %s", name, has, least)
	}
	return err
}

// showRing is a ring as snap has it or, when it was only checked, as it would be.
func (s *Server) showRing(snap *keyring.Snapshot, ring *keyring.Ring) *pb.Ring {
	line, ok := snap.Line(ring.Name)
	if !ok {
		line = &keyring.Line{Ring: ring}
	}
	return s.ringToProto(snap, line)
}

func (s *Server) ringToProto(snap *keyring.Snapshot, line *keyring.Line) *pb.Ring {
	return ringToProto(line, s.plan(snap, line.Ring))
}

// plan is what rotation will do to ring.
func (s *Server) plan(snap *keyring.Snapshot, ring *keyring.Ring) []rotation.Step {
	return s.rotator.Plan(ring, snap.Cutoffs)
}

// GetRing returns a ring.
func (s *admin) GetRing(ctx context.Context, req *pb.GetRingRequest) (*pb.Ring, error) {
	name, err := ringIn("name", req.GetName())
	if err != nil {
		return nil, err
	}
	snap, err := s.look(ctx, name)
	if err != nil {
		return nil, err
	}
	line, err := lineOf(snap, name)
	if err != nil {
		return nil, err
	}
	return s.ringToProto(snap, line), nil
}

// ListRings returns the rings, of one issuer or of all, that the caller may look at.
func (s *admin) ListRings(ctx context.Context, req *pb.ListRingsRequest) (*pb.ListRingsResponse, error) {
	issuer := strings.TrimPrefix(req.GetParent(), "issuers/")
	if issuer != anyOne {
		var err error
		if issuer, err = issuerIn("parent", req.GetParent()); err != nil {
			return nil, err
		}
	}
	snap, all, err := s.visibleRings(ctx, issuer)
	if err != nil {
		return nil, err
	}
	lines, next, err := page("rings "+issuer, req, all, lineName)
	if err != nil {
		return nil, err
	}
	res := &pb.ListRingsResponse{NextPageToken: next}
	for _, line := range lines {
		res.Rings = append(res.Rings, s.ringToProto(snap, line))
	}
	return res, nil
}

// anyOne stands for every issuer or every ring in the name of a list (AIP-159).
const anyOne = "-"

func lineName(l *keyring.Line) string { return l.Ring.Name }

// visibleRings lists the rings of an issuer, or of every one, that the caller may look at.
func (s *admin) visibleRings(ctx context.Context, issuer string) (*keyring.Snapshot, []*keyring.Line, error) {
	whole := everything
	if issuer != anyOne {
		whole = issuer + "/*"
	}
	snap, lines, err := visible(ctx, s, whole, func(snap *keyring.Snapshot) []*keyring.Line {
		if issuer == anyOne {
			return snap.Lines()
		}
		return snap.LinesOf(issuer)
	}, lineName)
	if err == nil && issuer != anyOne {
		_, err = issuerOf(snap, issuer)
	}
	return snap, lines, err
}

// UpdateRing changes settings of a ring.
func (s *admin) UpdateRing(ctx context.Context, req *pb.UpdateRingRequest) (*pb.Ring, error) {
	name, err := ringIn("ring.name", req.GetRing().GetName())
	if err != nil {
		return nil, err
	}
	a := act{method: "UpdateRing", object: longRing(name), verb: keyring.Admin, target: name, dry: req.GetValidateOnly()}
	var would *keyring.Line
	snap, err := s.write(ctx, &a, func(snap *keyring.Snapshot) (e keyring.Edit, err error) {
		line, err := lineOf(snap, name)
		if err != nil {
			return e, err
		}
		would = line
		next := line.Ring.Clone()
		if err := s.applyMask(&next, req); err != nil {
			return e, err
		}
		if unchanged(snap, line.Ring, &next) {
			return e, nil
		}
		if err := checkEtag(req.GetRing().GetEtag(), line.Ring.Revision, a.object); err != nil {
			return e, err
		}
		kept, err := s.checkUpdate(snap, line.Ring, &next)
		if err != nil {
			return e, err
		}
		kept.Revision = line.Ring.Revision
		would = &keyring.Line{Ring: &kept, Issuer: line.Issuer, Signer: keyring.Signer(&kept, snap.Cutoffs)}
		a.notes = []any{"settings", req.GetUpdateMask().GetPaths(), "weakens", weakens(line.Ring, &next)}
		return keyring.Edit{Rings: []keyring.Ring{next}}, nil
	})
	if err != nil {
		return nil, err
	}
	if a.dry {
		return s.ringToProto(snap, would), nil
	}
	line, err := lineOf(snap, name)
	if err != nil {
		return nil, err
	}
	return s.ringToProto(snap, line), nil
}

// unchanged reports whether an update is none. Naming the backend again is one if a cutoff moved the ring elsewhere.
func unchanged(snap *keyring.Snapshot, was, next *keyring.Ring) bool {
	moves := next.BackendSet == 0 && snap.Cutoffs.Home(was) != next.Backend
	return sameSettings(was, next) && !moves
}

// checkUpdate holds a changed ring against the rules, and returns it as the store would keep it. Its backend is asked only when the change is about it, so that
// the rest can be changed while one is not configured here.
func (s *admin) checkUpdate(snap *keyring.Snapshot, was, next *keyring.Ring) (kept keyring.Ring, err error) {
	if err := next.Validate(snap.Timing); err != nil {
		return kept, invalid("ring", "%s", plain(err))
	}
	if next.BackendSet == 0 {
		err = s.checkBackend(next.Backend, next.MinProtection)
	} else if next.MinProtection > was.MinProtection {
		err = s.checkBackend(snap.Cutoffs.Home(was), next.MinProtection)
	}
	if err != nil {
		return kept, err
	}
	if kept, err = keyring.Advance(was, *next, snap.Cutoffs, snap.Timing, snap.Position.Revision+1); err != nil {
		return kept, invalid("ring", "%s", plain(err))
	}
	return kept, nil
}

// weakens names the settings that a change makes more permissive.
func weakens(was, next *keyring.Ring) []string {
	var names []string
	if next.MinProtection < was.MinProtection {
		names = append(names, "min_protection")
	}
	if next.Scope.MaxTTL > was.Scope.MaxTTL {
		names = append(names, "max_ttl")
	}
	before, after := was.Scope.Audiences, next.Scope.Audiences
	newExact := func(aud string) bool { return !before.Allows(aud) }
	newPrefix := func(p string) bool {
		return !before.Any && !slices.ContainsFunc(before.Prefixes, func(known string) bool { return strings.HasPrefix(p, known) })
	}
	if after.Any && !before.Any || slices.ContainsFunc(after.Exact, newExact) || slices.ContainsFunc(after.Prefixes, newPrefix) {
		names = append(names, "audiences")
	}
	return names
}

// sameSettings compares what people choose of a ring.
func sameSettings(a, b *keyring.Ring) bool {
	return a.Scope.Equal(b.Scope) && a.Algorithm == b.Algorithm && a.Backend == b.Backend && a.MinProtection == b.MinProtection &&
		a.DefaultTTL == b.DefaultTTL && a.Rotation == b.Rotation && maps.Equal(a.Labels, b.Labels)
}
