package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

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
