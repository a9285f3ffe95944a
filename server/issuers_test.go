package server

import (
	"strings"
	"testing"

	pb "intaglio.example/api/intagliov1"
)

func TestIssuers(t *testing.T) {
	w := bareWorld(t)
	c, ctx := w.as(root), t.Context()
	req := &pb.CreateIssuerRequest{IssuerId: "payments", Issuer: &pb.Issuer{Uri: "https://payments.test"}, RequestId: newID(), ValidateOnly: true}

	made, err := c.CreateIssuer(ctx, req)
	no(t, err)
	is(t, "etag of what was only checked", made.GetEtag(), "")
	_, err = c.GetIssuer(ctx, &pb.GetIssuerRequest{Name: "payments"})
	refused(t, err, pb.Reason_REASON_ISSUER_NOT_FOUND, "")

	req.ValidateOnly = false
	made, err = c.CreateIssuer(ctx, req)
	no(t, err)
	is(t, "name", made.GetName(), "issuers/payments")
	is(t, "uri", made.GetUri(), "https://payments.test")
	again, err := c.CreateIssuer(ctx, req)
	no(t, err)
	is(t, "the repeat", again.String(), made.String())
	got, err := c.GetIssuer(ctx, &pb.GetIssuerRequest{Name: "issuers/payments"})
	no(t, err)
	is(t, "read", got.String(), made.String())
	list, err := c.ListIssuers(ctx, &pb.ListIssuersRequest{})
	no(t, err)
	is(t, "listed", list.GetIssuers()[0].String(), made.String())
}

func TestIssuersRefused(t *testing.T) {
	w := newWorld(t)
	c, used := w.as(root), newID()
	_, err := c.CreateIssuer(t.Context(), &pb.CreateIssuerRequest{IssuerId: "first", Issuer: &pb.Issuer{Uri: "https://first.test"}, RequestId: used})
	no(t, err)
	for name, row := range map[string]struct {
		id, uri, name, request string
		reason                 pb.Reason
		field                  string
	}{
		"bad id":            {"Payments", "https://p.test", "", "", pb.Reason_REASON_ARGUMENT_INVALID, "issuer_id"},
		"plain http":        {"p", "http://p.test", "", "", pb.Reason_REASON_ARGUMENT_INVALID, "issuer.uri"},
		"no uri":            {"p", "", "", "", pb.Reason_REASON_ARGUMENT_INVALID, "issuer.uri"},
		"long uri":          {"p", "https://p.test/" + strings.Repeat("a", 512), "", "", pb.Reason_REASON_ARGUMENT_INVALID, "issuer.uri"},
		"another name":      {"p", "https://p.test", "issuers/q", "", pb.Reason_REASON_ARGUMENT_INVALID, "issuer.name"},
		"no UUID":           {"p", "https://p.test", "", "42", pb.Reason_REASON_ARGUMENT_INVALID, "request_id"},
		"UUID of version 1": {"p", "https://p.test", "", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", pb.Reason_REASON_ARGUMENT_INVALID, "request_id"},
		"taken":             {"first", "https://first.test", "", "", pb.Reason_REASON_ALREADY_EXISTS, ""},
		"taken by another":  {"first", "https://first.test", "", newID(), pb.Reason_REASON_ALREADY_EXISTS, ""},
		"uri taken":         {"p", "https://first.test", "", "", pb.Reason_REASON_ALREADY_EXISTS, "issuer.uri"},
		"id of another":     {"p", "https://p.test", "", used, pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
		"id, other uri":     {"first", "https://p.test", "", used, pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.CreateIssuer(t.Context(), &pb.CreateIssuerRequest{IssuerId: row.id, Issuer: &pb.Issuer{Uri: row.uri, Name: row.name}, RequestId: row.request})
			refused(t, err, row.reason, row.field)
		})
	}
}
