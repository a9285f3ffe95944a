package server

import (
	"context"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// maxURI is the length in bytes of the longest issuer URL.
const maxURI = 512

// CreateIssuer makes an issuer.
func (s *admin) CreateIssuer(ctx context.Context, req *pb.CreateIssuerRequest) (*pb.Issuer, error) {
	if err := idIn("issuer_id", req.GetIssuerId()); err != nil {
		return nil, err
	}
	made := &keyring.Issuer{Name: req.GetIssuerId(), URL: req.GetIssuer().GetUri(), Request: req.GetRequestId(), Created: s.now().UTC()}
	a := act{method: "CreateIssuer", object: longIssuer(req.GetIssuerId()), verb: keyring.Admin, target: everything, dry: req.GetValidateOnly()}
	snap, err := s.write(ctx, &a, func(snap *keyring.Snapshot) (e keyring.Edit, err error) {
		if err := checkIssuer(made, req); err != nil {
			return e, err
		}
		was, taken := snap.Issuer(made.Name)
		o := origin{object: a.object, requestID: made.Request, taken: taken}
		if taken {
			o.by, o.same = was.Request, was.URL == made.URL
		}
		if repeat, err := o.repeats(snap); repeat || err != nil {
			made = was
			return e, err
		}
		for _, other := range snap.Issuers() {
			if other.URL == made.URL {
				return e, failField(pb.Reason_REASON_ALREADY_EXISTS, "issuer.uri", "%s has the uri %s", longIssuer(other.Name), made.URL)
			}
		}
		return keyring.Edit{Issuers: []keyring.Issuer{*made}}, nil
	})
	if err != nil {
		return nil, err
	}
	if now, ok := snap.Issuer(made.Name); ok {
		made = now
	}
	return issuerToProto(made), nil
}

func checkIssuer(i *keyring.Issuer, req *pb.CreateIssuerRequest) error {
	if err := misnamed("issuer.name", req.GetIssuer().GetName(), longIssuer(i.Name)); err != nil {
		return err
	}
	if err := checkRequestID(i.Request, false); err != nil {
		return err
	}
	if len(i.URL) > maxURI {
		return invalid("issuer.uri", "issuer.uri has at most %d bytes, not %d", maxURI, len(i.URL))
	}
	if err := i.Validate(); err != nil {
		return invalid("issuer.uri", "%s", plain(err))
	}
	return nil
}

// GetIssuer returns an issuer.
func (s *admin) GetIssuer(ctx context.Context, req *pb.GetIssuerRequest) (*pb.Issuer, error) {
	name, err := issuerIn("name", req.GetName())
	if err != nil {
		return nil, err
	}
	snap, err := s.look(ctx, name+"/*")
	if err != nil {
		return nil, err
	}
	issuer, err := issuerOf(snap, name)
	if err != nil {
		return nil, err
	}
	return issuerToProto(issuer), nil
}

// issuerOf finds an issuer that the caller was admitted to.
func issuerOf(snap *keyring.Snapshot, name string) (*keyring.Issuer, error) {
	issuer, ok := snap.Issuer(name)
	if !ok {
		return nil, fail(pb.Reason_REASON_ISSUER_NOT_FOUND, "there is no issuer %s", name)
	}
	return issuer, nil
}

// ListIssuers returns the issuers that the caller may look at.
func (s *admin) ListIssuers(ctx context.Context, req *pb.ListIssuersRequest) (*pb.ListIssuersResponse, error) {
	_, all, err := visible(ctx, s, everything, (*keyring.Snapshot).Issuers, func(i *keyring.Issuer) string { return i.Name + "/*" })
	if err != nil {
		return nil, err
	}
	issuers, next, err := page("issuers", req, all, func(i *keyring.Issuer) string { return i.Name })
	if err != nil {
		return nil, err
	}
	res := &pb.ListIssuersResponse{NextPageToken: next}
	for _, i := range issuers {
		res.Issuers = append(res.Issuers, issuerToProto(i))
	}
	return res, nil
}
