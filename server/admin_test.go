package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
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

// TestLists: pages are whole, in order, and hold only what the caller may look at.
func TestLists(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		_, err := w.as(root).CreateRing(t.Context(), &pb.CreateRingRequest{Parent: "demo", RingId: fmt.Sprintf("r%d", i), Ring: demoRing()})
		no(t, err)
	}
	walk := func(c client, parent string, size int32) (names []string, pages int) {
		req := &pb.ListRingsRequest{Parent: parent, PageSize: size}
		for {
			res, err := c.ListRings(t.Context(), req)
			no(t, err)
			pages++
			for _, r := range res.GetRings() {
				names = append(names, r.GetName())
			}
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				return names, pages
			}
		}
	}
	for _, parent := range []string{"demo", "issuers/demo", "-", "issuers/-"} {
		names, pages := walk(w.as(root), parent, 3)
		is(t, parent+": rings", len(names), 8)
		is(t, parent+": pages", pages, 3)
		is(t, parent+": in order", slices.IsSorted(names), true)
	}
	names, _ := walk(w.as(operator), "-", 0)
	is(t, "what the operator of one ring sees", strings.Join(names, " "), "issuers/demo/rings/access")
	_, err := w.as(operator).ListRings(t.Context(), &pb.ListRingsRequest{Parent: "other"})
	refused(t, err, pb.Reason_REASON_GRANT_MISSING, "")

	first, err := w.as(root).ListRings(t.Context(), &pb.ListRingsRequest{Parent: "demo", PageSize: 1})
	no(t, err)
	for what, req := range map[string]*pb.ListRingsRequest{
		"of another list": {Parent: "-", PageToken: first.GetNextPageToken()},
		"garbage":         {Parent: "demo", PageToken: "AAAA"},
		"not base64url":   {Parent: "demo", PageToken: "%%"},
	} {
		_, err := w.as(root).ListRings(t.Context(), req)
		t.Run(what, func(t *testing.T) { refused(t, err, pb.Reason_REASON_PAGE_TOKEN_INVALID, "page_token") })
	}
	for _, size := range []int32{-1, 1001} {
		_, err := w.as(root).ListRings(t.Context(), &pb.ListRingsRequest{Parent: "demo", PageSize: size})
		refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "page_size")
	}
	plans, err := w.as(root).PlanRotation(t.Context(), &pb.PlanRotationRequest{Name: "issuers/demo/rings/-", PageSize: 5})
	no(t, err)
	is(t, "plans", len(plans.GetPlans()), 5)
	plans, err = w.as(root).PlanRotation(t.Context(), &pb.PlanRotationRequest{Name: "issuers/demo/rings/-", PageToken: plans.GetNextPageToken()})
	no(t, err)
	is(t, "plans on the last page", len(plans.GetPlans()), 3)
	plans, err = w.as(operator).PlanRotation(t.Context(), &pb.PlanRotationRequest{Name: "-/-"})
	no(t, err)
	is(t, "plans that the operator of one ring sees", len(plans.GetPlans()), 1)
}

// TestKeys: names in both forms, newest first, and pages.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(operator), t.Context()
	w.stage(demo)
	list, err := c.ListKeys(ctx, &pb.ListKeysRequest{Parent: demo, PageSize: 1})
	no(t, err)
	is(t, "newest", list.GetKeys()[0].GetName(), "issuers/demo/rings/access/keys/2")
	is(t, "its state", list.GetKeys()[0].GetState(), pb.Key_STATE_STAGED)
	list, err = c.ListKeys(ctx, &pb.ListKeysRequest{Parent: "issuers/demo/rings/access", PageSize: 1, PageToken: list.GetNextPageToken()})
	no(t, err)
	is(t, "oldest", list.GetKeys()[0].GetName(), "issuers/demo/rings/access/keys/1")
	is(t, "no more", list.GetNextPageToken(), "")
	for _, name := range []string{"demo/access/1", "issuers/demo/rings/access/keys/1"} {
		k, err := c.GetKey(ctx, &pb.GetKeyRequest{Name: name})
		no(t, err)
		is(t, "kid", k.GetKid(), w.signer(demo).Kid)
		is(t, "state", k.GetState(), pb.Key_STATE_ACTIVE)
		is(t, "protection", k.GetProtection(), pb.Protection_PROTECTION_SOFTWARE)
		is(t, "sign_until", k.GetWindow().GetSignUntil().AsTime(), w.signer(demo).Window.SignUntil)
	}
	for _, name := range []string{"", "demo/access", "demo/access/0", "demo/access/01", "issuers/demo/rings/access/keys/x", "issuers/demo/access/1", "demo/keys/access/1"} {
		_, err := c.GetKey(ctx, &pb.GetKeyRequest{Name: name})
		refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "name")
	}
}

func TestRetain(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(keeper), t.Context()
	k, err := c.RetainKey(ctx, &pb.RetainKeyRequest{Name: demo + "/1", ValidateOnly: true})
	no(t, err)
	is(t, "retained, checked", k.GetRetained(), true)
	is(t, "retained, still", w.signer(demo).Retain, false)
	for range 2 {
		k, err = c.RetainKey(ctx, &pb.RetainKeyRequest{Name: demo + "/1"})
		no(t, err)
		is(t, "retained", k.GetRetained(), true)
	}
	for range 2 {
		k, err = c.ReleaseKey(ctx, &pb.ReleaseKeyRequest{Name: demo + "/1"})
		no(t, err)
		is(t, "released", k.GetRetained(), false)
	}
	// A revoked key is condemned at once, and cannot be kept after that.
	_, err = w.as(respond).Revoke(ctx, &pb.RevokeRequest{Scope: scopeKey(demo + "/1"), Reason: "drill", CutFirst: true, RequestId: newID()})
	no(t, err)
	w.await("the intent to destroy", func() bool { k := w.ring(demo).Key(1); return k == nil || !k.Destroy.IsZero() })
	_, err = c.RetainKey(ctx, &pb.RetainKeyRequest{Name: demo + "/1"})
	refused(t, err, pb.Reason_REASON_KEY_DESTROYED, "")
}

func TestRotateRing(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(operator), t.Context()
	kinds := func(steps []*pb.Step) string {
		var out []string
		for _, s := range steps {
			out = append(out, strings.TrimPrefix(s.GetKind().String(), "KIND_")+" "+s.GetKey()[strings.LastIndexByte(s.GetKey(), '/')+1:])
		}
		return strings.Join(out, ", ")
	}
	rotate := func(req *pb.RotateRingRequest) (*pb.RotateRingResponse, error) {
		req.Name = demo
		return c.RotateRing(ctx, req)
	}

	would, err := rotate(&pb.RotateRingRequest{ValidateOnly: true})
	no(t, err)
	is(t, "would", kinds(would.GetDone()), "RESERVE 2, MINT 2")
	is(t, "keys still", len(w.ring(demo).Keys), 1)
	res, err := rotate(&pb.RotateRingRequest{})
	no(t, err)
	is(t, "done", kinds(res.GetDone()), "RESERVE 2, MINT 2")
	is(t, "plan", kinds(res.GetPlan().GetSteps())[:len("ACTIVATE 2")], "ACTIVATE 2")
	is(t, "plan's keys", len(res.GetPlan().GetKeys()), 2)

	w.forward(3 * time.Minute)
	for _, dry := range []bool{true, false} {
		_, err = rotate(&pb.RotateRingRequest{ValidateOnly: dry})
		refused(t, err, pb.Reason_REASON_NOT_PROPAGATED, "")
		if !strings.Contains(err.Error(), "demo/access/2 has been published for 3m0s of 10m0s") {
			t.Errorf("it does not say for how long: %v", err)
		}
	}
	_, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(2 * time.Minute)})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "reason")
	_, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(4 * time.Minute), Reason: "drill"})
	refused(t, err, pb.Reason_REASON_NOT_PROPAGATED, "")
	_, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(-1), Reason: "drill"})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "propagated_for")
	_, err = rotate(&pb.RotateRingRequest{RequestId: "1"})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "request_id")
	res, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(2 * time.Minute), Reason: "drill"})
	no(t, err)
	is(t, "done", kinds(res.GetDone()), "ACTIVATE 2")
	is(t, "signer", w.signer(demo).Serial, 2)

	w.stage(demo)
	w.forward(10 * time.Minute)
	w.await("rotation by itself", func() bool { return w.signer(demo).Serial == 3 })
	w.stage(demo)
	res, err = rotate(&pb.RotateRingRequest{PropagatedFor: durationpb.New(0), Reason: "at once"})
	no(t, err)
	is(t, "done", kinds(res.GetDone()), "ACTIVATE 4")

	w.soft.down.Store(true)
	_, err = rotate(&pb.RotateRingRequest{})
	refused(t, err, pb.Reason_REASON_BACKEND_UNAVAILABLE, "")
}

// TestWritesMeetTheirFaults: a write whose store fails is reported as unknown, and its repeat ends where it should,
// whether or not the first one took effect.
func TestWritesMeetTheirFaults(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for name, fails := range map[string]func(*world) func(){
		"before": func(w *world) func() { return w.storeFails(broken, storetest.OpSwap) },
		"after":  func(w *world) func() { return w.storeLies(broken, storetest.OpSwap) },
		"reading it back": func(w *world) func() {
			swapped := false
			hook := func(op string) error {
				if op == storetest.OpSwap {
					swapped = true
				} else if swapped {
					return broken
				}
				return nil
			}
			w.after.Store(&hook)
			return func() { w.after.Store(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.stop()
			restore := fails(w)
			req := &pb.CreateGrantRequest{GrantId: "web", Grant: signGrant(stranger), RequestId: newID()}
			_, err := w.as(root).CreateGrant(t.Context(), req)
			refused(t, err, pb.Reason_REASON_STORE_UNAVAILABLE, "")
			if strings.Contains(err.Error(), "fire") {
				t.Errorf("the store's own words went to the caller: %v", err)
			}
			restore()
			made, err := w.as(root).CreateGrant(t.Context(), req)
			no(t, err)
			is(t, "name", made.GetName(), "grants/web")
		})
	}
}

// TestWritesConflict: a write that loses to another one is built again on what that one wrote; with an etag it is refused.
func TestWritesConflict(t *testing.T) {
	w := newWorld(t)
	w.stop() // a snapshot that does not follow by itself
	other := func() {
		c, err := w.store.Changes(t.Context(), keyring.Position{})
		no(t, err)
		next := c.Rings[0].Clone()
		next.Labels = map[string]string{"by": "another replica"}
		_, err = w.store.Swap(t.Context(), c.Position, keyring.Edit{Rings: []keyring.Ring{next}})
		no(t, err)
	}
	before := etag(w.ring(demo).Revision)
	other()
	_, err := w.as(root).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: &pb.Ring{Name: demo, Algorithm: "EdDSA"}, UpdateMask: mask("algorithm")})
	no(t, err)
	is(t, "what the other one wrote", w.ring(demo).Labels["by"], "another replica")
	is(t, "what we wrote", w.ring(demo).Algorithm, "EdDSA")
	_, err = w.as(root).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: &pb.Ring{Name: demo, Algorithm: "ES384", Etag: before}, UpdateMask: mask("algorithm")})
	refused(t, err, pb.Reason_REASON_ETAG_MISMATCH, "")

	always := func(op string) error {
		if op == storetest.OpSwap {
			return keyring.ErrConflict
		}
		return nil
	}
	w.hook.Store(&always)
	_, err = w.as(root).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: &pb.Ring{Name: demo, Algorithm: "ES384"}, UpdateMask: mask("algorithm")})
	refused(t, err, pb.Reason_REASON_OPERATION_CONFLICT, "")
}

// TestActsAreLogged: every write leaves a line that says who, what, and what came of it, also when it was refused.
func TestActsAreLogged(t *testing.T) {
	w := newWorld(t)
	writes := []string{"CreateIssuer", "CreateRing", "UpdateRing", "RetainKey", "ReleaseKey", "RotateRing", "CreateGrant", "DeleteGrant", "Revoke"}
	for name, call := range calls {
		if slices.Contains(writes, string(name.Name())) {
			no(t, call.do(t.Context(), w.as(root), here))
			if call.do(t.Context(), w.as(stranger), here) == nil {
				t.Errorf("a stranger may %s", name)
			}
		}
	}
	log := w.log.String()
	for _, method := range writes {
		for _, want := range []string{"caller=" + root, "caller=" + stranger + " object=[^ ]* outcome=REASON_GRANT_MISSING"} {
			caller, outcome, _ := strings.Cut(want, " object=[^ ]* ")
			found := false
			for line := range strings.Lines(log) {
				found = found || strings.Contains(line, "method="+method+" ") && strings.Contains(line, caller) && strings.Contains(line, outcome) && strings.Contains(line, "object=")
			}
			if !found {
				t.Errorf("no line about %s with %s", method, want)
			}
		}
	}
}
