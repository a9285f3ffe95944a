package server

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

func TestRingDefaults(t *testing.T) {
	w := newWorld(t)
	r := &pb.Ring{Usage: pb.Ring_USAGE_TOKENS, Backend: "soft", Audiences: &pb.Audiences{Any: true}}
	req := &pb.CreateRingRequest{Parent: "issuers/demo", RingId: "plain", Ring: r, ValidateOnly: true, RequestId: newID()}
	checked, err := w.as(root).CreateRing(t.Context(), req)
	no(t, err)
	_, err = w.as(root).GetRing(t.Context(), &pb.GetRingRequest{Name: "demo/plain"})
	refused(t, err, pb.Reason_REASON_RING_NOT_FOUND, "")

	req.ValidateOnly = false
	made, err := w.as(root).CreateRing(t.Context(), req)
	no(t, err)
	for _, r := range []*pb.Ring{checked, made} {
		is(t, "name", r.GetName(), "issuers/demo/rings/plain")
		is(t, "typ", r.GetTyp(), "at+jwt")
		is(t, "algorithm", r.GetAlgorithm(), "ES256")
		is(t, "min_protection", r.GetMinProtection(), pb.Protection_PROTECTION_SOFTWARE)
		is(t, "default_ttl", r.GetDefaultTtl().AsDuration(), time.Hour)
		is(t, "max_ttl", r.GetMaxTtl().AsDuration(), time.Hour)
		is(t, "lifetime", r.GetRotation().GetLifetime().AsDuration(), 14*24*time.Hour)
		is(t, "propagation", r.GetRotation().GetPropagation().AsDuration(), 24*time.Hour)
		is(t, "skew", r.GetRotation().GetSkew().AsDuration(), time.Minute)
	}
	is(t, "state of what was only checked", checked.GetState(), pb.Ring_STATE_NO_SIGNER)
	is(t, "etag of what was only checked", checked.GetEtag(), "")

	w.await("an active key", func() bool { k := w.signer("demo/plain"); return k != nil && k.State == keyring.Active })
	again, err := w.as(root).CreateRing(t.Context(), req)
	no(t, err)
	is(t, "state", again.GetState(), pb.Ring_STATE_SIGNING)
	is(t, "signer", again.GetSigner(), "issuers/demo/rings/plain/keys/1")
	if until := again.GetNextRotationTime().AsTime().Sub(w.now()); until < 12*24*time.Hour || until > 14*24*time.Hour {
		t.Errorf("the next rotation is in %v", until)
	}
	is(t, "key it has", len(w.ring("demo/plain").Keys), 1)
}

func (w *world) ring(name string) *keyring.Ring {
	_, line := w.line(name)
	return line.Ring
}

func TestRingsRefused(t *testing.T) {
	w := newWorld(t)
	used := newID()
	first := demoRing()
	_, err := w.as(root).CreateRing(t.Context(), &pb.CreateRingRequest{Parent: "demo", RingId: "first", Ring: first, RequestId: used})
	no(t, err)
	for name, row := range map[string]struct {
		edit   func(*pb.CreateRingRequest)
		reason pb.Reason
		field  string
	}{
		"bad parent":         {func(r *pb.CreateRingRequest) { r.Parent = "-" }, pb.Reason_REASON_ARGUMENT_INVALID, "parent"},
		"bad id":             {func(r *pb.CreateRingRequest) { r.RingId = "a/b" }, pb.Reason_REASON_ARGUMENT_INVALID, "ring_id"},
		"another name":       {func(r *pb.CreateRingRequest) { r.Ring.Name = demo }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.name"},
		"no ring":            {func(r *pb.CreateRingRequest) { r.Ring = nil }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.usage"},
		"raw":                {func(r *pb.CreateRingRequest) { r.Ring.Usage = pb.Ring_USAGE_RAW }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.usage"},
		"kubernetes":         {func(r *pb.CreateRingRequest) { r.Ring.Usage = pb.Ring_USAGE_KUBERNETES }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.usage"},
		"verify only":        {func(r *pb.CreateRingRequest) { r.Ring.Usage = pb.Ring_USAGE_VERIFY_ONLY }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.usage"},
		"unknown usage":      {func(r *pb.CreateRingRequest) { r.Ring.Usage = 77 }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.usage"},
		"odd typ":            {func(r *pb.CreateRingRequest) { r.Ring.Typ = "at\"jwt" }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.typ"},
		"long typ":           {func(r *pb.CreateRingRequest) { r.Ring.Typ = strings.Repeat("a", 65) }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.typ"},
		"HMAC":               {func(r *pb.CreateRingRequest) { r.Ring.Algorithm = "HS256" }, pb.Reason_REASON_ALGORITHM_UNSUPPORTED, "ring.algorithm"},
		"none":               {func(r *pb.CreateRingRequest) { r.Ring.Algorithm = "none" }, pb.Reason_REASON_ALGORITHM_UNSUPPORTED, "ring.algorithm"},
		"which backend":      {func(r *pb.CreateRingRequest) { r.Ring.Backend = "" }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.backend"},
		"no such backend":    {func(r *pb.CreateRingRequest) { r.Ring.Backend = "kms" }, pb.Reason_REASON_BACKEND_NOT_FOUND, "ring.backend"},
		"too weak":           {func(r *pb.CreateRingRequest) { r.Ring.MinProtection = pb.Protection_PROTECTION_REMOTE }, pb.Reason_REASON_PROTECTION_TOO_LOW, "ring.backend"},
		"unknown protection": {func(r *pb.CreateRingRequest) { r.Ring.MinProtection = 9 }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.min_protection"},
		"no audiences":       {func(r *pb.CreateRingRequest) { r.Ring.Audiences = nil }, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
		"any and a list":     {func(r *pb.CreateRingRequest) { r.Ring.Audiences.Any = true }, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
		"empty prefix":       {func(r *pb.CreateRingRequest) { r.Ring.Audiences.Prefixes = []string{""} }, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
		"half seconds":       {func(r *pb.CreateRingRequest) { r.Ring.MaxTtl = durationpb.New(1500 * time.Millisecond) }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.max_ttl"},
		"negative":           {func(r *pb.CreateRingRequest) { r.Ring.Rotation.Skew = durationpb.New(-time.Second) }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.rotation.skew"},
		"centuries":          {func(r *pb.CreateRingRequest) { r.Ring.Rotation.Lifetime = &durationpb.Duration{Seconds: 1 << 38} }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.rotation.lifetime"},
		"not a duration":     {func(r *pb.CreateRingRequest) { r.Ring.DefaultTtl = &durationpb.Duration{Seconds: 1, Nanos: -1} }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.default_ttl"},
		"default over max":   {func(r *pb.CreateRingRequest) { r.Ring.DefaultTtl = durationpb.New(time.Hour) }, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
		"published too late": {func(r *pb.CreateRingRequest) { r.Ring.Rotation.Propagation = durationpb.New(time.Minute) }, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
		"bad label":          {func(r *pb.CreateRingRequest) { r.Ring.Labels = map[string]string{"Team": "x"} }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.labels"},
		"long label":         {func(r *pb.CreateRingRequest) { r.Ring.Labels = map[string]string{"team": strings.Repeat("x", 129)} }, pb.Reason_REASON_ARGUMENT_INVALID, "ring.labels"},
		"no such issuer":     {func(r *pb.CreateRingRequest) { r.Parent = "none" }, pb.Reason_REASON_ISSUER_NOT_FOUND, ""},
		"no UUID":            {func(r *pb.CreateRingRequest) { r.RequestId = strings.ToUpper(newID()) + "X" }, pb.Reason_REASON_ARGUMENT_INVALID, "request_id"},
		"taken":              {func(r *pb.CreateRingRequest) { r.RingId = "first" }, pb.Reason_REASON_ALREADY_EXISTS, ""},
		"id of another":      {func(r *pb.CreateRingRequest) { r.RequestId = used }, pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
		"id, other settings": {func(r *pb.CreateRingRequest) { r.RequestId, r.RingId, r.Ring.Typ = used, "first", "JWT" }, pb.Reason_REASON_REQUEST_ID_REUSED, "request_id"},
	} {
		t.Run(name, func(t *testing.T) {
			req := &pb.CreateRingRequest{Parent: "demo", RingId: "second", Ring: demoRing()}
			row.edit(req)
			for _, req.ValidateOnly = range []bool{true, false} {
				_, err := w.as(root).CreateRing(t.Context(), req)
				refused(t, err, row.reason, row.field)
			}
		})
	}
}

func TestUpdateRing(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(keeper), t.Context()
	before, err := c.GetRing(ctx, &pb.GetRingRequest{Name: demo})
	no(t, err)

	change := &pb.Ring{Name: before.GetName(), Labels: map[string]string{"team": "core"}, Algorithm: "EdDSA", MaxTtl: durationpb.New(8 * time.Minute), Etag: before.GetEtag()}
	req := &pb.UpdateRingRequest{Ring: change, UpdateMask: mask("labels", "algorithm", "max_ttl"), ValidateOnly: true}
	checked, err := c.UpdateRing(ctx, req)
	no(t, err)
	is(t, "algorithm, checked", checked.GetAlgorithm(), "EdDSA")
	is(t, "algorithm, still", w.ring(demo).Algorithm, "ES256")

	req.ValidateOnly = false
	after, err := c.UpdateRing(ctx, req)
	no(t, err)
	is(t, "algorithm", after.GetAlgorithm(), "EdDSA")
	is(t, "max_ttl", after.GetMaxTtl().AsDuration(), 8*time.Minute)
	is(t, "label", after.GetLabels()["team"], "core")
	is(t, "default_ttl, not in the mask", after.GetDefaultTtl().AsDuration(), 5*time.Minute)
	is(t, "signer", after.GetSigner(), before.GetSigner())
	is(t, "algorithm of the key that is there", w.signer(demo).Algorithm, "ES256")

	same, err := c.UpdateRing(ctx, req) // with the etag from before
	no(t, err)
	is(t, "etag after an update that changes nothing", same.GetEtag(), after.GetEtag())

	change.Labels["team"] = "edge"
	_, err = c.UpdateRing(ctx, req)
	refused(t, err, pb.Reason_REASON_ETAG_MISMATCH, "")
	change.Etag = ""
	_, err = c.UpdateRing(ctx, req)
	no(t, err)
	is(t, "label", w.ring(demo).Labels["team"], "edge")
}

func TestUpdateRingRefused(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		ring   *pb.Ring
		mask   []string
		reason pb.Reason
		field  string
	}{
		"no mask":         {&pb.Ring{}, nil, pb.Reason_REASON_ARGUMENT_INVALID, "update_mask"},
		"everything":      {&pb.Ring{}, []string{"*"}, pb.Reason_REASON_ARGUMENT_INVALID, "update_mask"},
		"unknown":         {&pb.Ring{}, []string{"labels", "color"}, pb.Reason_REASON_ARGUMENT_INVALID, "update_mask"},
		"part of a whole": {&pb.Ring{}, []string{"rotation.skew"}, pb.Reason_REASON_ARGUMENT_INVALID, "update_mask"},
		"name":            {&pb.Ring{}, []string{"name"}, pb.Reason_REASON_FIELD_IMMUTABLE, "ring.name"},
		"typ":             {&pb.Ring{Typ: "JWT"}, []string{"labels", "typ"}, pb.Reason_REASON_FIELD_IMMUTABLE, "ring.typ"},
		"usage":           {&pb.Ring{}, []string{"usage"}, pb.Reason_REASON_FIELD_IMMUTABLE, "ring.usage"},
		"state":           {&pb.Ring{}, []string{"state"}, pb.Reason_REASON_FIELD_IMMUTABLE, "ring.state"},
		"algorithm":       {&pb.Ring{Algorithm: "es256"}, []string{"algorithm"}, pb.Reason_REASON_ALGORITHM_UNSUPPORTED, "ring.algorithm"},
		"backend":         {&pb.Ring{Backend: "kms"}, []string{"backend"}, pb.Reason_REASON_BACKEND_NOT_FOUND, "ring.backend"},
		"protection":      {&pb.Ring{MinProtection: pb.Protection_PROTECTION_HSM}, []string{"min_protection"}, pb.Reason_REASON_PROTECTION_TOO_LOW, "ring.backend"},
		"audiences":       {&pb.Ring{}, []string{"audiences"}, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
		"ttl":             {&pb.Ring{DefaultTtl: durationpb.New(time.Hour)}, []string{"default_ttl"}, pb.Reason_REASON_ARGUMENT_INVALID, "ring"},
	} {
		t.Run(name, func(t *testing.T) {
			row.ring.Name = demo
			_, err := w.as(keeper).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: row.ring, UpdateMask: mask(row.mask...)})
			refused(t, err, row.reason, row.field)
		})
	}
	_, err := w.as(root).UpdateRing(t.Context(), &pb.UpdateRingRequest{UpdateMask: mask("labels")})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "ring.name")
}

// TestWeakeningIsLogged: what makes a ring more permissive stands in the log, by name and with the caller.
func TestWeakeningIsLogged(t *testing.T) {
	w := newWorld(t)
	update := func(r *pb.Ring, paths ...string) {
		t.Helper()
		r.Name = demo
		_, err := w.as(keeper).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: r, UpdateMask: mask(paths...)})
		no(t, err)
	}
	update(&pb.Ring{Backend: "vault", MinProtection: pb.Protection_PROTECTION_REMOTE}, "backend", "min_protection")
	update(&pb.Ring{Audiences: &pb.Audiences{Prefixes: []string{"https://svc.demo.test/a/"}}}, "audiences")
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, "UpdateRing") && !strings.Contains(line, "weakens=[]") {
			t.Errorf("tightening was logged as weakening: %s", line)
		}
	}
	update(&pb.Ring{MinProtection: pb.Protection_PROTECTION_SOFTWARE}, "min_protection")
	update(&pb.Ring{MaxTtl: durationpb.New(time.Hour)}, "max_ttl")
	update(&pb.Ring{Audiences: &pb.Audiences{Prefixes: []string{"https://svc.demo.test/"}}}, "audiences")
	for _, want := range []string{"weakens=[min_protection]", "weakens=[max_ttl]", "weakens=[audiences]"} {
		found := false
		for line := range strings.Lines(w.log.String()) {
			found = found || strings.Contains(line, want) && strings.Contains(line, "caller="+keeper) && strings.Contains(line, "object=issuers/demo/rings/access") && strings.Contains(line, "outcome=done")
		}
		if !found {
			t.Errorf("%s is not in the log:\n%s", want, w.log)
		}
	}
}

// TestBackendChoiceOutlastsCutoff: a cutoff's into holds until somebody sets the backend again, even to the old one.
func TestBackendChoiceOutlastsCutoff(t *testing.T) {
	w := newWorld(t)
	w.stop() // so that rotation does not write the new home into the ring
	_, err := w.as(root).Revoke(t.Context(), &pb.RevokeRequest{Scope: scopeRing(demo), Reason: "drill", IntoBackend: "vault", CutFirst: true, RequestId: newID()})
	no(t, err)
	snap, line := w.line(demo)
	is(t, "home after the cutoff", snap.Cutoffs.Home(line.Ring), "vault")
	_, err = w.as(root).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: &pb.Ring{Name: demo, Backend: "soft"}, UpdateMask: mask("backend")})
	no(t, err)
	snap, line = w.line(demo)
	is(t, "home after the update", snap.Cutoffs.Home(line.Ring), "soft")
}
