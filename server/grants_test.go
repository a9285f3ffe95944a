package server

import (
	"slices"
	"strings"
	"testing"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

func TestGrants(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(root), t.Context()
	req := &pb.CreateGrantRequest{GrantId: "web", Grant: signGrant(stranger), RequestId: newID()}
	made, err := c.CreateGrant(ctx, req)
	no(t, err)
	is(t, "name", made.GetName(), "grants/web")
	no(t, calls["intaglio.v1.SigningService.SignToken"].do(ctx, w.as(stranger), here))
	again, err := c.CreateGrant(ctx, req)
	no(t, err)
	is(t, "the repeat", again.String(), made.String())

	_, err = c.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: "web", Etag: "1"})
	refused(t, err, pb.Reason_REASON_ETAG_MISMATCH, "")
	_, err = c.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: "web", Etag: made.GetEtag()})
	no(t, err)
	refused(t, calls["intaglio.v1.SigningService.SignToken"].do(ctx, w.as(stranger), here), pb.Reason_REASON_GRANT_MISSING, "")
	_, err = c.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: "grants/web", Etag: made.GetEtag()})
	no(t, err) // deleting a deleted grant
	_, err = c.CreateGrant(ctx, req)
	refused(t, err, pb.Reason_REASON_ALREADY_EXISTS, "") // its name is gone for good
	list, err := c.ListGrants(ctx, &pb.ListGrantsRequest{})
	no(t, err)
	if slices.ContainsFunc(list.GetGrants(), func(g *pb.Grant) bool { return g.GetName() == "grants/web" }) {
		t.Error("a deleted grant is listed")
	}
}

func TestGrantsRefused(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		edit   func(*pb.CreateGrantRequest)
		reason pb.Reason
		field  string
	}{
		"bad id":           {func(r *pb.CreateGrantRequest) { r.GrantId = "" }, pb.Reason_REASON_ARGUMENT_INVALID, "grant_id"},
		"another name":     {func(r *pb.CreateGrantRequest) { r.Grant.Name = "grants/app" }, pb.Reason_REASON_ARGUMENT_INVALID, "grant.name"},
		"wildcard":         {func(r *pb.CreateGrantRequest) { r.Grant.Principal = "spiffe://test/*" }, pb.Reason_REASON_ARGUMENT_INVALID, "grant"},
		"long principal":   {func(r *pb.CreateGrantRequest) { r.Grant.Principal = "x:" + strings.Repeat("x", 2048) }, pb.Reason_REASON_ARGUMENT_INVALID, "grant.principal"},
		"no verbs":         {func(r *pb.CreateGrantRequest) { r.Grant.Verbs = nil }, pb.Reason_REASON_ARGUMENT_INVALID, "grant"},
		"unspecified verb": {func(r *pb.CreateGrantRequest) { r.Grant.Verbs = []pb.Grant_Verb{0} }, pb.Reason_REASON_ARGUMENT_INVALID, "grant.verbs"},
		"verb twice":       {func(r *pb.CreateGrantRequest) { r.Grant.Verbs = []pb.Grant_Verb{1, 1} }, pb.Reason_REASON_ARGUMENT_INVALID, "grant.verbs"},
		"no rings":         {func(r *pb.CreateGrantRequest) { r.Grant.Rings = nil }, pb.Reason_REASON_ARGUMENT_INVALID, "grant"},
		"half a pattern":   {func(r *pb.CreateGrantRequest) { r.Grant.Rings = []string{"demo/acc*"} }, pb.Reason_REASON_ARGUMENT_INVALID, "grant"},
		"no grant":         {func(r *pb.CreateGrantRequest) { r.Grant = nil }, pb.Reason_REASON_ARGUMENT_INVALID, "grant"},
		"taken":            {func(r *pb.CreateGrantRequest) { r.GrantId = "app" }, pb.Reason_REASON_ALREADY_EXISTS, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := &pb.CreateGrantRequest{GrantId: "new", Grant: signGrant(stranger)}
			row.edit(req)
			_, err := w.as(root).CreateGrant(t.Context(), req)
			refused(t, err, row.reason, row.field)
		})
	}
}

// TestLastAdminStays: the last grant that lets anybody shape everything cannot be deleted, not even when two of two are
// deleted at the same moment.
func TestLastAdminStays(t *testing.T) {
	w := bareWorld(t)
	c, ctx := w.as(root), t.Context()
	_, err := c.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: "root"})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "name")

	second := &pb.Grant{Principal: "spiffe://test/second", Verbs: []pb.Grant_Verb{pb.Grant_VERB_ADMIN}, Rings: []string{"*"}}
	_, err = c.CreateGrant(ctx, &pb.CreateGrantRequest{GrantId: "second", Grant: second})
	no(t, err)
	snap, err := w.live.Current()
	no(t, err)
	g, _ := snap.Grant("second")
	gone := *g
	gone.Deleted = true
	raced := false
	hook := func(op string) error { // another replica deletes the other grant, just before we write
		if op == storetest.OpSwap && !raced {
			raced = true
			if _, err := w.store.Swap(ctx, snap.Position, keyring.Edit{Grants: []keyring.Grant{gone}}); err != nil {
				return err
			}
		}
		return nil
	}
	w.hook.Store(&hook)
	_, err = c.DeleteGrant(ctx, &pb.DeleteGrantRequest{Name: "root"})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "name")
	is(t, "raced", raced, true)
	w.hook.Store(nil)
	_, err = c.ListGrants(ctx, &pb.ListGrantsRequest{})
	no(t, err)
}
