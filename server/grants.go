package server

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// Limits of a grant.
const (
	maxPrincipal    = 2048
	maxGrantTargets = 1000
)

// CreateGrant lets a principal do something. Only who may shape everything may: a grant is never a way to give out more
// than one has.
func (s *admin) CreateGrant(ctx context.Context, req *pb.CreateGrantRequest) (*pb.Grant, error) {
	if err := idIn("grant_id", req.GetGrantId()); err != nil {
		return nil, err
	}
	a := act{method: "CreateGrant", object: "grants/" + req.GetGrantId(), verb: keyring.Admin, target: everything, dry: req.GetValidateOnly()}
	var made *keyring.Grant
	snap, err := s.write(ctx, &a, func(snap *keyring.Snapshot) (e keyring.Edit, err error) {
		if made, err = s.newGrant(req); err != nil {
			return e, err
		}
		a.notes = []any{"principal", made.Principal, "verbs", fmt.Sprint(made.Verbs), "rings", made.Rings}
		o := origin{object: a.object, requestID: made.Request}
		if was, taken := snap.Grant(made.Name); taken {
			o.taken, o.same = true, sameGrant(was, made)
			if !was.Deleted { // a deleted one is nobody's answer
				o.by = was.Request
			}
		}
		if repeat, err := o.repeats(snap); repeat || err != nil {
			return e, err
		}
		return keyring.Edit{Grants: []keyring.Grant{*made}}, nil
	})
	if err != nil {
		return nil, err
	}
	if now, ok := snap.Grant(made.Name); ok {
		made = now
	}
	return grantToProto(made), nil
}

func (s *admin) newGrant(req *pb.CreateGrantRequest) (*keyring.Grant, error) {
	given := req.GetGrant()
	g := &keyring.Grant{Name: req.GetGrantId(), Principal: given.GetPrincipal(), Rings: given.GetRings(), Request: req.GetRequestId(), Created: s.now().UTC()}
	if err := misnamed("grant.name", given.GetName(), "grants/"+g.Name); err != nil {
		return nil, err
	}
	if err := checkRequestID(g.Request, false); err != nil {
		return nil, err
	}
	if len(g.Principal) > maxPrincipal {
		return nil, invalid("grant.principal", "grant.principal has at most %d bytes, not %d", maxPrincipal, len(g.Principal))
	}
	if len(g.Rings) > maxGrantTargets {
		return nil, invalid("grant.rings", "a grant names at most %d rings, not %d; payments/* is every ring of an issuer", maxGrantTargets, len(g.Rings))
	}
	for _, v := range given.GetVerbs() {
		verb, ok := fromProto(verbs, v)
		if !ok || slices.Contains(g.Verbs, verb) {
			return nil, invalid("grant.verbs", "grant.verbs holds %s, which is unknown or there twice", v)
		}
		g.Verbs = append(g.Verbs, verb)
	}
	if err := g.Validate(); err != nil {
		return nil, invalid("grant", "%s", plain(err))
	}
	return g, nil
}

func sameGrant(a, b *keyring.Grant) bool {
	return a.Principal == b.Principal && slices.Equal(a.Verbs, b.Verbs) && slices.Equal(a.Rings, b.Rings)
}

// ListGrants returns all grants.
func (s *admin) ListGrants(ctx context.Context, req *pb.ListGrantsRequest) (*pb.ListGrantsResponse, error) {
	snap, err := s.look(ctx, everything)
	if err != nil {
		return nil, err
	}
	grants, next, err := page("grants", req, snap.Grants(), func(g *keyring.Grant) string { return g.Name })
	if err != nil {
		return nil, err
	}
	res := &pb.ListGrantsResponse{NextPageToken: next}
	for _, g := range grants {
		res.Grants = append(res.Grants, grantToProto(g))
	}
	return res, nil
}

// DeleteGrant takes a grant away. The last one that lets somebody shape everything stays: without it nobody could ever
// make a grant again.
func (s *admin) DeleteGrant(ctx context.Context, req *pb.DeleteGrantRequest) (*emptypb.Empty, error) {
	name, err := grantIn("name", req.GetName())
	if err != nil {
		return nil, err
	}
	a := act{method: "DeleteGrant", object: "grants/" + name, verb: keyring.Admin, target: everything, dry: req.GetValidateOnly()}
	_, err = s.write(ctx, &a, func(snap *keyring.Snapshot) (e keyring.Edit, err error) {
		was, ok := snap.Grant(name)
		if !ok {
			return e, fail(pb.Reason_REASON_GRANT_NOT_FOUND, "there is no grant %s", name)
		}
		if was.Deleted {
			return e, nil
		}
		if err := checkEtag(req.GetEtag(), was.Revision, a.object); err != nil {
			return e, err
		}
		a.notes = []any{"principal", was.Principal, "verbs", fmt.Sprint(was.Verbs), "rings", was.Rings}
		gone := *was
		gone.Deleted = true
		e.Grants = append(e.Grants, gone)
		if rules(was) {
			// The one that stays is written too, as it is: if somebody else deletes that one now, one of us conflicts.
			heir := slices.IndexFunc(snap.Grants(), func(g *keyring.Grant) bool { return g.Name != name && rules(g) })
			if heir < 0 {
				return e, failField(pb.Reason_REASON_ARGUMENT_INVALID, "name", "%s is the last grant that lets anybody admin *; make another one first", a.object)
			}
			e.Grants = append(e.Grants, *snap.Grants()[heir])
		}
		return e, nil
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// rules reports whether a grant lets its principal shape everything.
func rules(g *keyring.Grant) bool { return g.Allows(keyring.Admin, everything) }
