package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// get asks the public side for a path.
func (w *world) get(path string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.server.HTTP().ServeHTTP(rec, req)
	return rec
}

func (w *world) published() []string {
	var kids []string
	for _, k := range w.jwks(w.t) {
		kids = append(kids, k.Kid)
	}
	return kids
}

// TestPublishedWhileNeeded: a key is in the JWK Set from staging until its last token has expired, and not a moment
// after it was revoked.
func TestPublishedWhileNeeded(t *testing.T) {
	w := newWorld(t)
	first := w.signer(demo).Kid
	second := w.stage(demo).Kid
	is(t, "the successor is published", slices.Contains(w.published(), second), true)
	no(t, w.activate(demo))
	is(t, "the signer", w.signer(demo).Kid, second)
	is(t, "the old key is published", slices.Contains(w.published(), first), true)
	w.forward(12 * time.Minute) // snapshot TTL, max TTL and twice the skew are 12 min 15 s
	time.Sleep(50 * time.Millisecond)
	is(t, "the old key is still published", slices.Contains(w.published(), first), true)
	w.forward(time.Minute)
	w.await("the old key to be unpublished", func() bool { return !slices.Contains(w.published(), first) })

	req := order(scopeKey(demo + "/2"))
	_, err := w.as(root).Revoke(t.Context(), req)
	no(t, err)
	is(t, "a revoked key is published", slices.Contains(w.published(), second), false)
	set, err := w.as(app).GetKeySet(t.Context(), &pb.GetKeySetRequest{Issuer: "demo"})
	no(t, err)
	i := slices.IndexFunc(set.GetRevoked(), func(k *pb.RevokedKey) bool { return k.GetKid() == second })
	if i < 0 {
		t.Fatal("a revoked key is not listed as revoked")
	}
	if got := set.GetRevoked()[i].GetOperation(); !strings.HasSuffix(got, req.GetRequestId()) {
		t.Errorf("it says that %q revoked it", got)
	}
}

func TestKeySet(t *testing.T) {
	w := newWorld(t)
	w.makeRing("second", demoRing())
	key := w.signer(demo)
	set, err := w.as(app).GetKeySet(t.Context(), &pb.GetKeySetRequest{Issuer: "issuers/demo"})
	no(t, err)
	is(t, "issuer", set.GetIssuer(), "issuers/demo")
	is(t, "uri", set.GetIssuerUri(), "https://demo.test")
	is(t, "max_stale", set.GetMaxStale().AsDuration(), 15*time.Second)
	is(t, "keys", len(set.GetKeys()), 2)
	if age := w.now().Sub(set.GetReadTime().AsTime()); age < 0 || age > 15*time.Second {
		t.Errorf("read_time is %v ago", age)
	}
	i := slices.IndexFunc(set.GetKeys(), func(k *pb.PublishedKey) bool { return k.GetKid() == key.Kid })
	if i < 0 {
		t.Fatalf("no %s in the set", key.Kid)
	}
	k := set.GetKeys()[i]
	is(t, "typ", k.GetTyp(), "at+jwt")
	is(t, "max_ttl", k.GetMaxTtl().AsDuration(), 10*time.Minute)
	is(t, "audience", k.GetAudiences().GetExact()[0], aud)
	is(t, "sign_until", k.GetWindow().GetSignUntil().AsTime(), key.Window.SignUntil)
	var members map[string]string
	no(t, json.Unmarshal(k.GetJwk(), &members))
	is(t, "kid", members["kid"], key.Kid)
	for _, private := range []string{"d", "p", "q", "k"} {
		if _, ok := members[private]; ok {
			t.Errorf("the JWK has a member %q", private)
		}
	}
	for _, name := range []string{"", "demo/access", "*", "Demo"} {
		_, err := w.as(app).GetKeySet(t.Context(), &pb.GetKeySetRequest{Issuer: name})
		refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "issuer")
	}
}

func TestJWKSOverHTTP(t *testing.T) {
	w := newWorld(t)
	res := w.get("/demo/jwks.json")
	is(t, "status", res.Code, 200)
	is(t, "content type", res.Header().Get("Content-Type"), "application/json")
	is(t, "nosniff", res.Header().Get("X-Content-Type-Options"), "nosniff")
	age, ok := strings.CutPrefix(res.Header().Get("Cache-Control"), "public, max-age=")
	if n, err := strconv.Atoi(age); !ok || err != nil || n > 60 || n < 54 {
		t.Errorf("Cache-Control is %q", res.Header().Get("Cache-Control"))
	}
	tag := res.Header().Get("ETag")
	for header, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200} {
		again := w.get("/demo/jwks.json", "If-None-Match", header)
		is(t, "status with "+header, again.Code, want)
		is(t, "a body with "+header, again.Body.Len() > 0, want == 200)
	}
	w.stage(demo)
	is(t, "status after a new key", w.get("/demo/jwks.json", "If-None-Match", tag).Code, 200)
	is(t, "an unknown issuer", w.get("/none/jwks.json").Code, 404)
	post := httptest.NewRecorder()
	w.server.HTTP().ServeHTTP(post, httptest.NewRequest("POST", "/demo/jwks.json", nil))
	is(t, "POST", post.Code, http.StatusMethodNotAllowed)
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/demo/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/demo"} {
		res := w.get(path)
		is(t, path, res.Code, 200)
		var doc struct {
			Issuer string
			JWKS   string   `json:"jwks_uri"`
			Algs   []string `json:"id_token_signing_alg_values_supported"`
		}
		no(t, json.Unmarshal(res.Body.Bytes(), &doc))
		is(t, "issuer", doc.Issuer, "https://demo.test")
		is(t, "jwks_uri", doc.JWKS, "https://demo.test/jwks.json")
		is(t, "algorithms", strings.Join(doc.Algs, " "), "ES256")
	}
}

// TestProbes: a replica that cannot be sure says so on every door that asks, and publishes nothing.
func TestProbes(t *testing.T) {
	w := newWorld(t)
	public := []string{"/demo/jwks.json", "/demo/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/demo"}
	expect := func(when string, ready, keys int, serving healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		is(t, when+": /livez", w.get("/livez").Code, 200)
		is(t, when+": /readyz", w.get("/readyz").Code, ready)
		for _, path := range public {
			is(t, when+": "+path, w.get(path).Code, keys)
		}
		res, err := w.as(stranger).Check(t.Context(), &healthpb.HealthCheckRequest{})
		no(t, err)
		is(t, when+": health", res.GetStatus(), serving)
	}
	expect("fresh", 200, 200, healthpb.HealthCheckResponse_SERVING)
	restore := w.storeFails(keyring.ErrConflict, storetest.OpChanges) // any error will do
	w.offset.Add(int64(16 * time.Second))
	expect("stale", 503, 503, healthpb.HealthCheckResponse_NOT_SERVING)
	is(t, "Retry-After", w.get("/demo/jwks.json").Header().Get("Retry-After"), "1")
	restore()
	w.refresh()
	expect("fresh again", 200, 200, healthpb.HealthCheckResponse_SERVING)

	watch, err := w.as(stranger).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	no(t, err)
	res, err := watch.Recv()
	no(t, err)
	is(t, "watched", res.GetStatus(), healthpb.HealthCheckResponse_SERVING)
	w.server.Drain()
	expect("draining", 503, 200, healthpb.HealthCheckResponse_NOT_SERVING)
	res, err = watch.Recv()
	no(t, err)
	is(t, "watched", res.GetStatus(), healthpb.HealthCheckResponse_NOT_SERVING)
}

// TestStoreThatLies: a store that went back in time, or was tampered with, is refused for good, even if it recovers.
func TestStoreThatLies(t *testing.T) {
	for err, reason := range map[error]pb.Reason{
		keyring.ErrRollback: pb.Reason_REASON_STORE_WENT_BACK, keyring.ErrTampered: pb.Reason_REASON_STORE_TAMPERED, keyring.ErrNewerSchema: pb.Reason_REASON_STORE_UNUSABLE,
	} {
		w := newWorld(t)
		restore := w.storeFails(err, storetest.OpChanges)
		w.await("the refusal", func() bool { _, err := w.live.Current(); return err != nil })
		restore()
		time.Sleep(50 * time.Millisecond)
		_, refusal := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
		refused(t, refusal, reason, "")
		is(t, "jwks.json", w.get("/demo/jwks.json").Code, 503)
	}
}

// TestMetrics: what they count, and that no series grows with rings or callers.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	_, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	no(t, err)
	_, err = w.as(stranger).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	refused(t, err, pb.Reason_REASON_GRANT_MISSING, "")
	text := w.get("/metrics").Body.String()
	for _, want := range []string{
		"intaglio_tokens_signed_total 1\n", `intaglio_refusals_total{reason="grant_missing"} 1` + "\n",
		`intaglio_rings{state="signing"} 1` + "\n", `intaglio_rings{state="no_signer"} 0` + "\n", "intaglio_snapshot_fresh 1\n", "intaglio_sign_seconds_count 2\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	series := strings.Count(text, "\nintaglio_")
	w.makeRing("second", demoRing())
	_, err = w.as(operator).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	refused(t, err, pb.Reason_REASON_GRANT_MISSING, "")
	is(t, "series after another ring and another caller", strings.Count(w.get("/metrics").Body.String(), "\nintaglio_"), series)
	for _, name := range []string{"demo", "spiffe"} {
		if strings.Contains(text, name) {
			t.Errorf("%q is in the metrics", name)
		}
	}
}
