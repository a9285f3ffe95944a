package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// order is a revocation that nothing is wrong with.
func order(scope *pb.Scope) *pb.RevokeRequest {
	return &pb.RevokeRequest{Scope: scope, Reason: "drill", CutFirst: true, RequestId: newID()}
}

// TestRevokeEveryScope: each scope fells what it says and nothing else, and the rings go on with new keys.
func TestRevokeEveryScope(t *testing.T) {
	for name, row := range map[string]struct {
		scope  *pb.Scope
		target string   // the scope in the answer
		falls  []string // rings whose signer falls
	}{
		"key":     {scopeKey("issuers/demo/rings/access/keys/1"), "issuers/demo/rings/access/keys/1", []string{demo}},
		"ring":    {scopeRing(demo), "issuers/demo/rings/access", []string{demo}},
		"issuer":  {scopeIssuer("demo"), "issuers/demo", []string{demo, "demo/remote"}},
		"backend": {scopeBackend("vault"), "vault", []string{"demo/remote"}},
		"all":     {scopeAll(), "", []string{demo, "demo/remote"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			remote := demoRing()
			remote.Backend = "vault"
			w.makeRing("remote", remote)
			before := map[string]string{demo: w.signer(demo).Kid, "demo/remote": w.signer("demo/remote").Kid}

			req := order(row.scope)
			im, err := w.as(root).PreviewRevocation(t.Context(), &pb.PreviewRevocationRequest{Scope: row.scope})
			no(t, err)
			is(t, "keys that would fall", im.GetKeys(), int64(len(row.falls)))
			is(t, "rings that would lose their signer", len(im.GetWorst()), len(row.falls))
			req.ImpactDigest = im.GetDigest()
			op, err := w.as(root).Revoke(t.Context(), req)
			no(t, err)
			is(t, "name", op.GetName(), "operations/"+req.GetRequestId())
			is(t, "state", op.GetState(), pb.Operation_STATE_CONFIRMED)
			is(t, "actor", op.GetActor(), root)
			is(t, "keys that fell", op.GetKeys(), int64(len(row.falls)))
			is(t, "rings they fell in", op.GetRings(), int64(len(row.falls)))
			is(t, "scope", scopeName(op.GetScope()), row.target)
			if op.GetCutRevision() <= im.GetRevision() || op.GetConfirmTime() == nil || op.GetCutTime() == nil {
				t.Errorf("the cut is at revision %d, cut_time %v, confirm_time %v", op.GetCutRevision(), op.GetCutTime(), op.GetConfirmTime())
			}
			for ring, kid := range before {
				falls := slices.Contains(row.falls, ring)
				if falls {
					w.await("a new signer in "+ring, func() bool { return w.signer(ring) != nil })
				}
				is(t, ring+" has a new key", w.signer(ring).Kid != kid, falls)
				is(t, kid+" is published", slices.ContainsFunc(w.jwks(t), func(k jwk) bool { return k.Kid == kid }), !falls)
			}
		})
	}
}

func scopeName(s *pb.Scope) string {
	return s.GetIssuer() + s.GetRing() + s.GetKey() + s.GetBackend()
}

func TestRevokeRefused(t *testing.T) {
	w := newWorld(t)
	used := order(scopeKey(demo + "/1"))
	_, err := w.as(root).Revoke(t.Context(), used)
	no(t, err)
	with := func(edit func(*pb.RevokeRequest)) *pb.RevokeRequest {
		req := order(scopeRing(demo))
		edit(req)
		return req
	}
	for name, row := range map[string]struct {
		req    *pb.RevokeRequest
		reason pb.Reason
		field  string
	}{
		"no scope":       {with(func(r *pb.RevokeRequest) { r.Scope = nil }), pb.Reason_REASON_ARGUMENT_INVALID, "scope"},
		"empty scope":    {with(func(r *pb.RevokeRequest) { r.Scope = &pb.Scope{} }), pb.Reason_REASON_ARGUMENT_INVALID, "scope"},
		"bad issuer":     {with(func(r *pb.RevokeRequest) { r.Scope = scopeIssuer("*") }), pb.Reason_REASON_ARGUMENT_INVALID, "scope.issuer"},
		"bad ring":       {with(func(r *pb.RevokeRequest) { r.Scope = scopeRing("demo/*") }), pb.Reason_REASON_ARGUMENT_INVALID, "scope.ring"},
		"bad key":        {with(func(r *pb.RevokeRequest) { r.Scope = scopeKey("demo/access/00") }), pb.Reason_REASON_ARGUMENT_INVALID, "scope.key"},
		"bad backend":    {with(func(r *pb.RevokeRequest) { r.Scope = scopeBackend("") }), pb.Reason_REASON_ARGUMENT_INVALID, "scope.backend"},
		"no issuer":      {with(func(r *pb.RevokeRequest) { r.Scope = scopeIssuer("none") }), pb.Reason_REASON_ISSUER_NOT_FOUND, ""},
		"no ring":        {with(func(r *pb.RevokeRequest) { r.Scope = scopeRing("demo/none") }), pb.Reason_REASON_RING_NOT_FOUND, ""},
		"no key":         {with(func(r *pb.RevokeRequest) { r.Scope = scopeKey(demo + "/99") }), pb.Reason_REASON_KEY_NOT_FOUND, ""},
		"no backend":     {with(func(r *pb.RevokeRequest) { r.Scope = scopeBackend("kms") }), pb.Reason_REASON_BACKEND_NOT_FOUND, "scope.backend"},
		"no reason":      {with(func(r *pb.RevokeRequest) { r.Reason = " " }), pb.Reason_REASON_ARGUMENT_INVALID, "reason"},
		"long reason":    {with(func(r *pb.RevokeRequest) { r.Reason = strings.Repeat("x", 501) }), pb.Reason_REASON_ARGUMENT_INVALID, "reason"},
		"no id":          {with(func(r *pb.RevokeRequest) { r.RequestId = "" }), pb.Reason_REASON_ARGUMENT_INVALID, "request_id"},
		"upper case id":  {with(func(r *pb.RevokeRequest) { r.RequestId = "3A9F4359-EC31-4571-84AC-5D8CEB178784" }), pb.Reason_REASON_ARGUMENT_INVALID, "request_id"},
		"not cut first":  {with(func(r *pb.RevokeRequest) { r.CutFirst = false }), pb.Reason_REASON_ARGUMENT_INVALID, "cut_first"},
		"into nowhere":   {with(func(r *pb.RevokeRequest) { r.IntoBackend = "kms" }), pb.Reason_REASON_BACKEND_NOT_FOUND, "into_backend"},
		"into itself":    {with(func(r *pb.RevokeRequest) { r.Scope, r.IntoBackend = scopeBackend("soft"), "soft" }), pb.Reason_REASON_ARGUMENT_INVALID, "into_backend"},
		"another digest": {with(func(r *pb.RevokeRequest) { r.ImpactDigest = strings.Repeat("0", 64) }), pb.Reason_REASON_IMPACT_GREW, ""},
		"id, other key":  {with(func(r *pb.RevokeRequest) { r.RequestId = used.GetRequestId() }), pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
		"id, other reason": {with(func(r *pb.RevokeRequest) {
			r.RequestId, r.Scope, r.Reason = used.GetRequestId(), used.GetScope(), "another"
		}), pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
		"id, other backend": {with(func(r *pb.RevokeRequest) {
			r.RequestId, r.Scope, r.IntoBackend = used.GetRequestId(), used.GetScope(), "vault"
		}), pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.as(root).Revoke(t.Context(), row.req)
			refused(t, err, row.reason, row.field)
		})
	}
	is(t, "cutoffs", len(w.cutoffs()), 1)
}

func (w *world) cutoffs() keyring.Cutoffs {
	c, err := w.store.Changes(context.WithoutCancel(w.t.Context()), keyring.Position{})
	no(w.t, err)
	return c.Cutoffs
}

// TestIntoNeverWeaker: successors are never made where keys are less protected than those that fall, or than a ring that
// would move there asks for.
func TestIntoNeverWeaker(t *testing.T) {
	w := newWorld(t)
	remote := demoRing()
	remote.Backend = "vault"
	w.makeRing("remote", remote)
	for _, scope := range []*pb.Scope{scopeAll(), scopeIssuer("demo"), scopeRing("demo/remote"), scopeKey("demo/remote/1"), scopeBackend("vault")} {
		req := order(scope)
		req.IntoBackend = "soft"
		_, err := w.as(root).Revoke(t.Context(), req)
		refused(t, err, pb.Reason_REASON_PROTECTION_TOO_LOW, "into_backend")
		_, err = w.as(root).PreviewRevocation(t.Context(), &pb.PreviewRevocationRequest{Scope: scope, IntoBackend: "soft"})
		refused(t, err, pb.Reason_REASON_PROTECTION_TOO_LOW, "into_backend")
	}
	is(t, "cutoffs", len(w.cutoffs()), 0)

	// A ring that has no key yet is moved as well, so what it asks for counts.
	w.vault.down.Store(true)
	strict := demoRing()
	strict.Backend, strict.MinProtection = "vault", pb.Protection_PROTECTION_REMOTE
	_, err := w.as(root).CreateIssuer(t.Context(), &pb.CreateIssuerRequest{IssuerId: "other", Issuer: &pb.Issuer{Uri: "https://other.test"}})
	no(t, err)
	_, err = w.as(root).CreateRing(t.Context(), &pb.CreateRingRequest{Parent: "other", RingId: "strict", Ring: strict})
	no(t, err)
	req := order(scopeIssuer("other"))
	req.IntoBackend = "soft"
	_, err = w.as(root).Revoke(t.Context(), req)
	refused(t, err, pb.Reason_REASON_PROTECTION_TOO_LOW, "into_backend")

	// Upwards is welcome.
	w.vault.down.Store(false)
	req = order(scopeAll())
	req.IntoBackend = "vault"
	op, err := w.as(root).Revoke(t.Context(), req)
	no(t, err)
	is(t, "into", op.GetIntoBackend(), "vault")
	w.await("a successor in vault", func() bool { k := w.signer(demo); return k != nil && k.Backend == "vault" })
}

// TestRevokeRepeats: the same request_id gives back the same operation, for ever, and cuts once. Only its counts shrink,
// as the records of what fell are archived.
func TestRevokeRepeats(t *testing.T) {
	w := newWorld(t)
	req := order(scopeRing(demo))
	im, err := w.as(root).PreviewRevocation(t.Context(), &pb.PreviewRevocationRequest{Scope: req.GetScope()})
	no(t, err)
	req.ImpactDigest = im.GetDigest() // which no later impact has
	first, err := w.as(root).Revoke(t.Context(), req)
	no(t, err)
	w.await("the successor", func() bool { k := w.signer(demo); return k != nil && k.State == keyring.Active })
	w.await("the end of the felled key", func() bool { k := w.ring(demo).Key(1); return !k.Destroyed.IsZero() })
	archived := func() bool { keys, err := w.store.Archived(t.Context(), demo); return err == nil && len(keys) > 0 }
	for _, later := range []time.Duration{0, time.Hour} {
		if w.forward(later); later > 0 {
			w.await("the felled key to be archived", archived)
			first.Keys, first.Rings = 0, 0 // what is archived is not counted
		}
		again, err := w.as(respond).Revoke(t.Context(), req)
		no(t, err)
		is(t, "state", again.GetState(), pb.Operation_STATE_CONFIRMED)
		first.ConfirmTime, again.ConfirmTime = nil, nil
		is(t, "the repeat", again.String(), first.String())
	}
	is(t, "cutoffs", len(w.cutoffs()), 1)
	is(t, "successor lives", w.signer(demo) != nil, true)
}

// TestNothingLeftToRevoke: the same key cannot be felled twice, so nobody fills the store by asking. The first revocation,
// repeated, still has its answer; a move elsewhere and a retired key are something left.
func TestNothingLeftToRevoke(t *testing.T) {
	w := newWorld(t)
	w.stage(demo)
	no(t, w.activate(demo))
	w.stop()
	first := order(scopeKey(demo + "/1")) // retiring
	op, err := w.as(respond).Revoke(t.Context(), first)
	no(t, err)
	before := w.position()
	_, err = w.as(respond).Revoke(t.Context(), order(scopeKey(demo+"/1")))
	refused(t, err, pb.Reason_REASON_KEY_STATE_WRONG, "")
	is(t, "position", w.position(), before)
	again, err := w.as(respond).Revoke(t.Context(), first)
	no(t, err)
	is(t, "the repeat", again.GetCutRevision(), op.GetCutRevision())

	move := order(scopeKey(demo + "/1"))
	move.IntoBackend = "vault"
	_, err = w.as(respond).Revoke(t.Context(), move)
	no(t, err)
	_, err = w.as(respond).Revoke(t.Context(), order(scopeRing(demo)))
	no(t, err)
	_, err = w.as(respond).Revoke(t.Context(), order(scopeRing(demo)))
	refused(t, err, pb.Reason_REASON_KEY_STATE_WRONG, "")

	// Another replica has made a key since, which this one does not know yet.
	r := w.ring(demo).Clone()
	storetest.Reserve(&r)
	_, err = w.store.Swap(t.Context(), w.position(), keyring.Edit{Rings: []keyring.Ring{r}})
	no(t, err)
	fresh := order(scopeRing(demo)) // this replica knows of no key that is left
	_, err = w.as(respond).Revoke(t.Context(), fresh)
	no(t, err)
}

// TestImpactGrew: a key made after the preview stops the revocation, once.
func TestImpactGrew(t *testing.T) {
	w := newWorld(t)
	req := order(scopeIssuer("demo"))
	im, err := w.as(root).PreviewRevocation(t.Context(), &pb.PreviewRevocationRequest{Scope: req.GetScope()})
	no(t, err)
	w.makeRing("more", demoRing())
	req.ImpactDigest = im.GetDigest()
	_, err = w.as(root).Revoke(t.Context(), req)
	refused(t, err, pb.Reason_REASON_IMPACT_GREW, "")
	if !strings.Contains(err.Error(), "2 keys in 2 rings") {
		t.Errorf("it does not say what would fall now: %v", err)
	}
	is(t, "cutoffs", len(w.cutoffs()), 0)
	req.ImpactDigest = ""
	op, err := w.as(root).Revoke(t.Context(), req)
	no(t, err)
	is(t, "keys", op.GetKeys(), 2)
}

// TestBrakeNeedsOnlyTheStore is invariant 5: with every backend down, rotation dead, and every other write of the store
// refused, revoking works, and key sets follow.
func TestBrakeNeedsOnlyTheStore(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.soft.down.Store(true)
	w.vault.down.Store(true)
	w.storeFails(errors.New("read-only"), storetest.OpSwap)
	op, err := w.as(respond).Revoke(t.Context(), order(scopeIssuer("demo")))
	no(t, err)
	is(t, "state", op.GetState(), pb.Operation_STATE_CONFIRMED)
	is(t, "published keys", len(w.jwks(t)), 0)
	_, err = w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	refused(t, err, pb.Reason_REASON_NO_SIGNER, "")
}

// TestBrakeMeetsItsFaults: both sides of a failure of each call to the store. The answer is never better than the truth,
// and a repeat ends in a confirmed cut.
func TestBrakeMeetsItsFaults(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for name, row := range map[string]struct {
		fails  func(*world)
		state  pb.Operation_State // of the first call; 0 when it is an error
		raised int
	}{
		"cut fails":                      {func(w *world) { w.storeFails(broken, storetest.OpCut) }, 0, 0},
		"cut fails, but takes effect":    {func(w *world) { w.storeLies(broken, storetest.OpCut) }, pb.Operation_STATE_CONFIRMED, 1},
		"cut takes effect, nothing else": {func(w *world) { w.storeLies(broken, storetest.OpCut, storetest.OpChanges) }, 0, 1},
		"it cannot be read back":         {func(w *world) { w.storeFails(broken, storetest.OpChanges) }, pb.Operation_STATE_CUT, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.stop()
			w.refresh()
			row.fails(w)
			req := order(scopeRing(demo))
			op, err := w.as(root).Revoke(t.Context(), req)
			is(t, "state", op.GetState(), row.state)
			if row.state == 0 {
				refused(t, err, pb.Reason_REASON_STORE_UNAVAILABLE, "")
				if !strings.Contains(err.Error(), req.GetRequestId()) {
					t.Errorf("it does not say with which id to repeat: %v", err)
				}
			}
			if row.state == pb.Operation_STATE_CUT {
				is(t, "errors", len(op.GetErrors()), 1)
				is(t, "cut_revision is known", op.GetCutRevision() > 0, true)
				is(t, "keys", op.GetKeys(), 1)
			}
			w.hook.Store(nil)
			w.after.Store(nil)
			is(t, "cutoffs", len(w.cutoffs()), row.raised)
			op, err = w.as(root).Revoke(t.Context(), req)
			no(t, err)
			is(t, "state after the repeat", op.GetState(), pb.Operation_STATE_CONFIRMED)
			is(t, "cutoffs after the repeat", len(w.cutoffs()), 1)
		})
	}
}

// TestBrakeWaitsForNobody: another call of this replica hangs in the store, and holds what refreshing the snapshot takes.
// The cut takes effect all the same, and the answer says in time that this replica has not installed it.
func TestBrakeWaitsForNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stop()
	hangs, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	hook := func(op string) error {
		if op == storetest.OpChanges && first.CompareAndSwap(false, true) {
			close(hangs)
			<-release
		}
		return nil
	}
	w.hook.Store(&hook)
	var stuck sync.WaitGroup
	stuck.Go(func() { w.live.Refresh(context.WithoutCancel(t.Context())) })
	<-hangs
	began := time.Now()
	op, err := w.as(respond).Revoke(t.Context(), order(scopeRing(demo)))
	no(t, err)
	is(t, "state", op.GetState(), pb.Operation_STATE_CUT)
	is(t, "errors", len(op.GetErrors()), 1)
	if took := time.Since(began); took > confirmTime+2*time.Second {
		t.Errorf("it took %v", took)
	}
	is(t, "cutoffs", len(w.cutoffs()), 1)
	close(release)
	stuck.Wait()
}

// TestBrakeIsPulledThoughCallerLeaves: the cut takes effect, and is installed.
func TestBrakeIsPulledThoughCallerLeaves(t *testing.T) {
	w := newWorld(t)
	w.stop()
	ctx, leave := context.WithCancel(t.Context())
	hook := func(op string) error {
		if op == storetest.OpCut {
			leave()
			time.Sleep(50 * time.Millisecond) // until the server knows
		}
		return nil
	}
	w.hook.Store(&hook)
	_, err := w.as(root).Revoke(ctx, order(scopeRing(demo)))
	is(t, "code", status.Code(err).String(), "Canceled")
	w.await("the end of it in the log", func() bool { return strings.Contains(w.log.String(), "method=Revoke") })
	is(t, "it was done", strings.Contains(w.log.String(), `object="ring demo/access" outcome=done`), true)
	is(t, "this replica knows", w.signer(demo) == nil, true)

	// Gone before the cut has even begun.
	c := keyring.Cutoff{Operation: newID(), Reach: keyring.Reach{Kind: keyring.All}, Reason: "drill", Time: w.now()}
	no(t, (&revocation{Server: w.server}).cut(ctx, &c))
	is(t, "its line is known", c.Revision > 0, true)
}

// TestNothingFelledAfterRevoke is the promise of invariant 3, under load: no call begun after Revoke returned gives out a
// token of a key that it felled. Callers hammer the ring while keys are revoked one after the other.
func TestNothingFelledAfterRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var felled sync.Map // kid → true, stored after Revoke has returned
	var tokens atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var callers sync.WaitGroup
	for range 8 {
		c := w.as(app)
		callers.Go(func() {
			for ctx.Err() == nil {
				known := map[any]bool{}
				felled.Range(func(kid, _ any) bool { known[kid] = true; return true })
				res, err := c.SignToken(ctx, &pb.SignTokenRequest{Ring: demo, Claims: claims()})
				if err == nil {
					tokens.Add(1)
					if known[any(res.GetKid())] {
						t.Errorf("a call begun after %s was felled returned a token of it", res.GetKid())
						return
					}
				}
			}
		})
	}
	responder, deadline := w.as(root), time.Now().Add(2*time.Second)
	for n := 0; time.Now().Before(deadline); n++ {
		w.await("a signer", func() bool { return w.signer(demo) != nil })
		key := w.signer(demo)
		scope := []*pb.Scope{scopeKey(keyring.KeyID(demo, key.Serial)), scopeRing(demo), scopeAll()}[n%3]
		op, err := responder.Revoke(ctx, order(scope))
		no(t, err)
		is(t, "state", op.GetState(), pb.Operation_STATE_CONFIRMED)
		felled.Store(key.Kid, true)
	}
	stop()
	callers.Wait()
	if tokens.Load() < 100 {
		t.Errorf("only %d tokens were signed: nothing was hammered", tokens.Load())
	}
}

// TestImpact works the numbers of an impact out by hand, on rings of every shape.
func TestImpact(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ring := func(name, backend string, keys ...keyring.Key) keyring.Ring {
		r := storetest.Ring(name)
		r.Backend, r.BackendSet = backend, 1
		for i := range keys {
			k := &keys[i]
			k.Serial, k.Reserved, k.Backend = uint64(i+1), 2, backend
			k.Scope.MaxTTL = time.Hour
			k.Window.VerifyUntil = now.Add(30 * 24 * time.Hour)
		}
		r.Keys = keys
		return r
	}
	retiring := keyring.Key{State: keyring.Retiring, Retiring: now.Add(-20 * time.Minute)}
	issuer := storetest.Issuer("a")
	other := storetest.Issuer("b")
	snap, err := keyring.NewSnapshot(keyring.Changes{
		Store: "s", Position: keyring.Position{Revision: 9}, Timing: keyring.DefaultTiming(), Full: true,
		Issuers: []keyring.Issuer{issuer, other},
		Rings: []keyring.Ring{
			ring("a/full", "soft", keyring.Key{State: keyring.Revoked, Revoked: now}, keyring.Key{State: keyring.Retired, Retired: now}, retiring, keyring.Key{State: keyring.Active}, keyring.Key{State: keyring.Staged}),
			ring("a/waiting", "gone", keyring.Key{State: keyring.Reserved}),
			ring("b/plain", "gone", keyring.Key{State: keyring.Active}),
			ring("b/empty", "soft"),
		},
		Cutoffs: []keyring.Cutoff{{Operation: "old", Reach: keyring.Reach{Kind: keyring.OneBackend, Name: "elsewhere"}, Reason: "r", Revision: 5}},
	})
	no(t, err)
	for name, row := range map[string]struct {
		reach    keyring.Reach
		keys     string
		silenced string
		last     time.Duration // after now
	}{
		"all":          {keyring.Reach{Kind: keyring.All}, "a/full 3 4 5; a/waiting 1; b/plain 1", "a/full b/plain", 60*time.Minute + 15*time.Second},
		"issuer":       {keyring.Reach{Kind: keyring.OneIssuer, Name: "b"}, "b/plain 1", "b/plain", 60*time.Minute + 15*time.Second},
		"backend":      {keyring.Reach{Kind: keyring.OneBackend, Name: "gone"}, "a/waiting 1; b/plain 1", "b/plain", 60*time.Minute + 15*time.Second},
		"retiring key": {keyring.Reach{Kind: keyring.OneKey, Name: "a/full/3"}, "a/full 3", "", 40*time.Minute + 15*time.Second},
		"active key":   {keyring.Reach{Kind: keyring.OneKey, Name: "a/full/4"}, "a/full 4", "a/full", 60*time.Minute + 15*time.Second},
		"staged key":   {keyring.Reach{Kind: keyring.OneKey, Name: "a/full/5"}, "a/full 5", "", -1},
		"retired key":  {keyring.Reach{Kind: keyring.OneKey, Name: "a/full/2"}, "", "", -1},
		"revoked key":  {keyring.Reach{Kind: keyring.OneKey, Name: "a/full/1"}, "", "", -1},
		"empty ring":   {keyring.Reach{Kind: keyring.OneRing, Name: "b/empty"}, "", "", -1},
	} {
		t.Run(name, func(t *testing.T) {
			im := keyring.ImpactOf(snap, row.reach, "", now)
			var keys, silenced []string
			for _, f := range im.Fallen {
				text := f.Line.Ring.Name
				for _, k := range f.Keys {
					text += fmt.Sprint(" ", k.Serial)
				}
				keys = append(keys, text)
			}
			for _, s := range im.Silenced {
				silenced = append(silenced, s.Line.Ring.Name)
			}
			is(t, "keys", strings.Join(keys, "; "), row.keys)
			is(t, "silenced", strings.Join(silenced, " "), row.silenced)
			want := time.Time{}
			if row.last >= 0 {
				want = now.Add(row.last)
			}
			is(t, "last token", im.Last, want)
		})
	}
	digests := map[string]string{}
	for _, into := range []string{"", "soft", "vault"} {
		for _, kind := range []keyring.Reach{{Kind: keyring.All}, {Kind: keyring.OneIssuer, Name: "a"}, {Kind: keyring.OneRing, Name: "a/full"}, {Kind: keyring.OneKey, Name: "a/full/4"}} {
			im := keyring.ImpactOf(snap, kind, into, now)
			later := keyring.ImpactOf(snap, kind, into, now.Add(time.Minute))
			is(t, "the digest a minute later", later.Digest(), im.Digest())
			what := kind.String() + " into " + into
			if twin, ok := digests[im.Digest()]; ok || len(im.Digest()) != 64 {
				t.Errorf("%s and %s have the same digest %s", what, twin, im.Digest())
			}
			digests[im.Digest()] = what
		}
	}
}

// TestPreviewSays: where successors would be made, whose cannot, and what no cut reaches.
func TestPreviewSays(t *testing.T) {
	w := newWorld(t)
	w.stop()
	r := w.ring(demo).Clone()
	r.Name, r.Backend, r.BackendSet, r.Keys, r.NextSerial = "demo/lost", "gone", 0, nil, 1 // as if that backend had been configured once
	_, err := w.store.Swap(t.Context(), w.position(), keyring.Edit{Rings: []keyring.Ring{r}})
	no(t, err)
	w.refresh()
	serial := storetest.Reserve(&r)
	for _, to := range []keyring.State{keyring.Reserved, keyring.Staged, keyring.Active} {
		if k := r.Key(serial); to != keyring.Reserved {
			storetest.Move(k, to)
		}
		_, err = w.store.Swap(t.Context(), w.position(), keyring.Edit{Rings: []keyring.Ring{r}})
		no(t, err)
		w.refresh()
		r = w.ring("demo/lost").Clone()
	}
	im, err := w.as(respond).PreviewRevocation(t.Context(), &pb.PreviewRevocationRequest{Scope: scopeIssuer("demo")})
	no(t, err)
	is(t, "rings", len(im.GetWorst()), 2)
	worst := im.GetWorst()[0]
	is(t, "the worst", worst.GetRing(), "issuers/demo/rings/lost")
	reason, _ := detailsOf(status.FromProto(worst.GetNoSuccessor()))
	is(t, "why it has no successor", reason, pb.Reason_REASON_BACKEND_NOT_FOUND.String())
	is(t, "the other has one", im.GetWorst()[1].GetNoSuccessor() == nil, true)
	is(t, "where", im.GetWorst()[1].GetBackend(), "soft")
	said := strings.Join(im.GetOutOfReach(), "\n")
	for _, want := range []string{"up to 1m", "at most 15s", "verifiers that fetch no key set", "(gone)"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in what is out of reach:\n%s", want, said)
		}
	}
	im, err = w.as(respond).PreviewRevocation(t.Context(), &pb.PreviewRevocationRequest{Scope: scopeIssuer("demo"), IntoBackend: "vault"})
	no(t, err)
	for _, r := range im.GetWorst() {
		is(t, r.GetRing()+" moves to", r.GetBackend(), "vault")
		is(t, "and has a successor there", r.GetNoSuccessor() == nil, true)
	}
}

func (w *world) position() keyring.Position {
	c, err := w.store.Changes(w.t.Context(), keyring.Position{})
	no(w.t, err)
	return c.Position
}
