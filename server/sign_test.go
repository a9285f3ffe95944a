package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// payloadOf decodes the middle of a token, by hand.
func payloadOf(t testing.TB, token string) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a compact token: %q", token)
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	no(t, err)
	return payload
}

// TestTokensVerifyElsewhere: what comes out verifies with Go's own crypto and the served JWK Set, for every algorithm,
// and says what it should.
func TestTokensVerifyElsewhere(t *testing.T) {
	w := newWorld(t)
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512"} {
		t.Run(alg, func(t *testing.T) {
			r := demoRing()
			r.Algorithm, r.Typ = alg, "JWT"
			id := strings.ToLower(alg)
			w.makeRing(id, r)
			res, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: "issuers/demo/rings/" + id, Claims: claims()})
			no(t, err)
			header := verifyWithGo(t, w.jwks(t), res.GetToken())
			is(t, "alg", header["alg"], alg)
			is(t, "typ", header["typ"], "JWT")
			is(t, "kid", header["kid"], res.GetKid())
			is(t, "members of the header", len(header), 3)

			var got struct {
				Iss, Sub, Aud, Jti string
				Iat, Exp           int64
			}
			no(t, json.Unmarshal(payloadOf(t, res.GetToken()), &got))
			is(t, "iss", got.Iss, "https://demo.test")
			is(t, "sub", got.Sub, "alice")
			is(t, "aud", got.Aud, aud)
			is(t, "jti", got.Jti, res.GetJti())
			is(t, "iat", got.Iat, res.GetIssueTime().GetSeconds())
			is(t, "exp", got.Exp, res.GetExpireTime().GetSeconds())
			is(t, "lifetime", got.Exp-got.Iat, 300)
			if age := w.now().Unix() - got.Iat; age < 0 || age > 5 || len(got.Jti) < 16 {
				t.Errorf("iat is %d s old, jti is %q", age, got.Jti)
			}
		})
	}
}

// TestClaimsPassThrough: the caller's members arrive byte for byte: order, spacing, escapes, and numbers of any size.
func TestClaimsPassThrough(t *testing.T) {
	w := newWorld(t)
	members := `"z":1,"n" : 9007199254740993, "big":123456789012345678901234567890,"f":1.10,"e":1E+2,"u":"\u00fcx\/",  "ü":"ü😀",` +
		`"deep":{"iss":"x","b":[{"exp":1},null,true],"a":{}}, "aud" : ["` + aud + `","https://svc.demo.test/x"],"sub":"alice"`
	res, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: []byte(" \n{ " + members + "\t}\r\n")})
	no(t, err)
	payload := payloadOf(t, res.GetToken())
	if !bytes.HasSuffix(payload, []byte(","+members+"}")) {
		t.Errorf("the members did not pass through:\n%s\n%s", members, payload)
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	var got map[string]any
	no(t, dec.Decode(&got))
	is(t, "n", fmt.Sprint(got["n"]), "9007199254740993")
	is(t, "big", fmt.Sprint(got["big"]), "123456789012345678901234567890")
	is(t, "f", fmt.Sprint(got["f"]), "1.10")
	is(t, "iss", got["iss"], any("https://demo.test"))
	verifyWithGo(t, w.jwks(t), res.GetToken())
}

func TestClaimsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.as(app)
	with := func(members string) string { return `{"aud":"` + aud + `",` + members + `}` }
	rows := map[string]struct {
		claims string
		reason pb.Reason
	}{
		"empty":              {"", pb.Reason_REASON_CLAIMS_MALFORMED},
		"no aud at all":      {"{}", pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE},
		"an array":           {"[]", pb.Reason_REASON_CLAIMS_MALFORMED},
		"trailing":           {with(`"a":1`) + "{}", pb.Reason_REASON_CLAIMS_MALFORMED},
		"not UTF-8":          {with("\"a\":\"\xff\""), pb.Reason_REASON_CLAIMS_MALFORMED},
		"half a surrogate":   {with(`"a":"\ud800"`), pb.Reason_REASON_CLAIMS_MALFORMED},
		"twice":              {with(`"a":1,"a":2`), pb.Reason_REASON_CLAIM_DUPLICATE},
		"twice, escaped":     {with(`"a":1,"\u0061":2`), pb.Reason_REASON_CLAIM_DUPLICATE},
		"twice, deep down":   {with(`"a":{"b":1,"b":2}`), pb.Reason_REASON_CLAIM_DUPLICATE},
		"another case":       {with(`"sub":"a","SUB":"b"`), pb.Reason_REASON_CLAIM_DUPLICATE},
		"too large":          {with(`"a":"` + strings.Repeat("a", 8192) + `"`), pb.Reason_REASON_CLAIMS_TOO_LARGE},
		"too deep":           {with(`"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40)), pb.Reason_REASON_CLAIMS_TOO_LARGE},
		"name with a NUL":    {with(`"iss\u0000":"https://evil.test"`), pb.Reason_REASON_CLAIMS_MALFORMED},
		"and deep down":      {with(`"act":{"sub\u0000":"root"}`), pb.Reason_REASON_CLAIMS_MALFORMED},
		"name with a DEL":    {with("\"iss\x7f\":1"), pb.Reason_REASON_CLAIMS_MALFORMED},
		"aud a number":       {`{"aud":1}`, pb.Reason_REASON_CLAIM_INVALID},
		"aud an empty list":  {`{"aud":[]}`, pb.Reason_REASON_CLAIM_INVALID},
		"aud of another":     {`{"aud":"https://other.test"}`, pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE},
		"one aud of another": {`{"aud":["` + aud + `","https://other.test"]}`, pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE},
		"a prefix too short": {`{"aud":"https://svc.demo.test"}`, pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE},
		"aud with a tail":    {`{"aud":"` + aud + `.evil.test"}`, pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE},
		"sub a number":       {with(`"sub":1`), pb.Reason_REASON_CLAIM_INVALID},
		"nbf a string":       {with(`"nbf":"1"`), pb.Reason_REASON_CLAIM_INVALID},
		"AUD":                {`{"AUD":"` + aud + `"}`, pb.Reason_REASON_CLAIM_INVALID},
	}
	for _, name := range []string{"iss", "iat", "exp", "jti"} {
		row := rows["empty"]
		row.claims, row.reason = with(`"`+name+`":1`), pb.Reason_REASON_CLAIM_RESERVED
		rows[name] = row
		row.claims = with(fmt.Sprintf(`"\u%04x%s":1`, name[0], name[1:]))
		rows[name+" escaped"] = row
		row.claims, row.reason = with(`"`+strings.ToUpper(name)+`":1`), pb.Reason_REASON_CLAIM_INVALID
		rows[strings.ToUpper(name)] = row
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := c.SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: []byte(row.claims)})
			refused(t, err, row.reason, "claims")
		})
	}
}

// TestStrangeNamesAreBounded: what a caller sends for a name comes back short and printable, before any grant is looked at.
func TestStrangeNamesAreBounded(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x\u202e", 2000)
	_, err := w.as(stranger).SignToken(t.Context(), &pb.SignTokenRequest{Ring: long, Claims: claims()})
	refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "ring")
	_, err2 := w.as(stranger).GetKeySet(t.Context(), &pb.GetKeySetRequest{Issuer: long})
	refused(t, err2, pb.Reason_REASON_ARGUMENT_INVALID, "issuer")
	for _, err := range []error{err, err2} {
		if text := err.Error(); len(text) > 400 || strings.Contains(text, "\u202e") {
			t.Errorf("%d bytes: %.200q", len(text), text)
		}
	}
}

func TestLifetimes(t *testing.T) {
	w := newWorld(t)
	sign := func(req *pb.SignTokenRequest) (time.Duration, error) {
		req.Ring, req.Claims = demo, claims()
		res, err := w.as(app).SignToken(t.Context(), req)
		return res.GetExpireTime().AsTime().Sub(res.GetIssueTime().AsTime()), err
	}
	in := func(d time.Duration) *pb.SignTokenRequest {
		return &pb.SignTokenRequest{Expiration: &pb.SignTokenRequest_Ttl{Ttl: durationpb.New(d)}}
	}
	at := func(d time.Duration) *pb.SignTokenRequest {
		return &pb.SignTokenRequest{Expiration: &pb.SignTokenRequest_ExpireTime{ExpireTime: timestamppb.New(w.now().Add(d))}}
	}
	for d, want := range map[*pb.SignTokenRequest]time.Duration{
		{}: 5 * time.Minute, in(time.Second): time.Second, in(10 * time.Minute): 10 * time.Minute, at(time.Minute): time.Minute,
	} {
		got, err := sign(d)
		no(t, err)
		if got > want || got < want-2*time.Second {
			t.Errorf("lives for %v, want %v", got, want)
		}
	}
	for name, row := range map[string]struct {
		req   *pb.SignTokenRequest
		field string
	}{
		"nothing":    {in(0), "expiration"},
		"negative":   {in(-time.Minute), "expiration"},
		"too long":   {in(10*time.Minute + time.Second), "expiration"},
		"centuries":  {&pb.SignTokenRequest{Expiration: &pb.SignTokenRequest_Ttl{Ttl: &durationpb.Duration{Seconds: 315576000000}}}, "expiration"},
		"not a span": {&pb.SignTokenRequest{Expiration: &pb.SignTokenRequest_Ttl{Ttl: &durationpb.Duration{Seconds: 1, Nanos: -1}}}, "ttl"},
		"past":       {at(-time.Minute), "expiration"},
		"too late":   {at(11 * time.Minute), "expiration"},
		"no time":    {&pb.SignTokenRequest{Expiration: &pb.SignTokenRequest_ExpireTime{ExpireTime: &timestamppb.Timestamp{Nanos: -1}}}, "expire_time"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sign(row.req)
			refused(t, err, pb.Reason_REASON_TTL_OUT_OF_SCOPE, row.field)
		})
	}
}

// TestKeysKeepTheirScope: a scope that was widened is the next key's; one that was narrowed holds at once.
func TestKeysKeepTheirScope(t *testing.T) {
	w := newWorld(t)
	update := func(r *pb.Ring, paths ...string) {
		r.Name = demo
		_, err := w.as(keeper).UpdateRing(t.Context(), &pb.UpdateRingRequest{Ring: r, UpdateMask: mask(paths...)})
		no(t, err)
	}
	sign := func(aud string, ttl time.Duration) error {
		_, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: []byte(`{"aud":"` + aud + `"}`), Expiration: &pb.SignTokenRequest_Ttl{Ttl: durationpb.New(ttl)}})
		return err
	}
	update(&pb.Ring{Audiences: &pb.Audiences{Any: true}, MaxTtl: durationpb.New(time.Hour)}, "audiences", "max_ttl")
	refused(t, sign("https://other.test", time.Minute), pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE, "claims")
	refused(t, sign(aud, 30*time.Minute), pb.Reason_REASON_TTL_OUT_OF_SCOPE, "expiration")
	w.stage(demo)
	no(t, w.activate(demo))
	no(t, sign("https://other.test", 30*time.Minute))

	update(&pb.Ring{Audiences: &pb.Audiences{Exact: []string{aud}}, MaxTtl: durationpb.New(5 * time.Minute)}, "audiences", "max_ttl")
	refused(t, sign("https://other.test", time.Minute), pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE, "claims")
	refused(t, sign(aud, 6*time.Minute), pb.Reason_REASON_TTL_OUT_OF_SCOPE, "expiration")
	no(t, sign(aud, 5*time.Minute))
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.as(app), t.Context()
	for _, n := range []int{0, 257} {
		_, err := c.BatchSignTokens(ctx, &pb.BatchSignTokensRequest{Requests: make([]*pb.SignTokenRequest, n)})
		refused(t, err, pb.Reason_REASON_BATCH_SIZE_INVALID, "requests")
	}
	heavy := &pb.BatchSignTokensRequest{}
	for range 200 {
		heavy.Requests = append(heavy.Requests, &pb.SignTokenRequest{Ring: demo, Claims: bytes.Repeat([]byte(" "), 5300)})
	}
	_, err := c.BatchSignTokens(ctx, heavy)
	refused(t, err, pb.Reason_REASON_BATCH_SIZE_INVALID, "requests")

	mixed := &pb.BatchSignTokensRequest{}
	bad := map[int]pb.Reason{3: pb.Reason_REASON_CLAIM_RESERVED, 100: pb.Reason_REASON_RING_NOT_FOUND, 101: pb.Reason_REASON_GRANT_MISSING, 255: pb.Reason_REASON_ARGUMENT_INVALID}
	for i := range 256 {
		req := &pb.SignTokenRequest{Ring: demo, Claims: fmt.Appendf(nil, `{"aud":%q,"n":%d}`, aud, i)}
		switch bad[i] {
		case pb.Reason_REASON_CLAIM_RESERVED:
			req.Claims = []byte(`{"exp":1}`)
		case pb.Reason_REASON_RING_NOT_FOUND:
			req.Ring = "demo/none"
		case pb.Reason_REASON_GRANT_MISSING:
			req.Ring = "other/none"
		case pb.Reason_REASON_ARGUMENT_INVALID:
			req.Ring = "none"
		}
		mixed.Requests = append(mixed.Requests, req)
	}
	res, err := c.BatchSignTokens(ctx, mixed)
	no(t, err)
	is(t, "results", len(res.GetResults()), 256)
	jwks, jtis := w.jwks(t), map[string]bool{}
	for i, r := range res.GetResults() {
		if want, ok := bad[i]; ok {
			got, _ := detailsOf(status.FromProto(r.GetError()))
			is(t, fmt.Sprintf("item %d", i), got, want.String())
			continue
		}
		if r.GetToken() == nil {
			t.Fatalf("item %d: %v", i, r.GetError())
		}
		var got struct{ N int }
		no(t, json.Unmarshal(payloadOf(t, r.GetToken().GetToken()), &got))
		is(t, "order", got.N, i)
		jtis[r.GetToken().GetJti()] = true
		if i%32 == 0 {
			verifyWithGo(t, jwks, r.GetToken().GetToken())
		}
	}
	is(t, "different jti", len(jtis), 256-len(bad))
}

// TestSignerFelledWhileItSigns is invariant 3: the key is revoked while the backend signs with it. What comes out is of
// the successor, or nothing; never of the revoked key, whether the backend signed or failed.
func TestSignerFelledWhileItSigns(t *testing.T) {
	for name, row := range map[string]struct {
		successor bool
		answer    error // of the backend, for the revoked key
	}{
		"a successor is published":                        {true, nil},
		"a successor is published, and the backend fails": {true, errors.New("disabled")},
		"nothing else can sign":                           {false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old, heir := w.signer(demo), (*keyring.Key)(nil)
			if row.successor {
				heir = w.stage(demo)
			}
			w.stop()
			w.soft.meet(func(ref string, next func() ([]byte, error)) ([]byte, error) {
				sig, err := next()
				if ref != old.Ref {
					return sig, err
				}
				if _, err := w.as(respond).Revoke(context.WithoutCancel(t.Context()), &pb.RevokeRequest{Scope: scopeKey(demo + "/1"), Reason: "drill", CutFirst: true, RequestId: newID()}); err != nil {
					return nil, err
				}
				return sig, errors.Join(err, row.answer)
			})
			res, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
			if !row.successor {
				refused(t, err, pb.Reason_REASON_NO_SIGNER, "")
				return
			}
			no(t, err)
			is(t, "kid", res.GetKid(), heir.Kid)
			header := verifyWithGo(t, w.jwks(t), res.GetToken())
			is(t, "kid in the header", header["kid"], heir.Kid)
		})
	}
}

// TestSignerRetiredWhileItSigns: a plain rotation in the middle of a signature also yields a token of the new signer.
// A ring whose signer keeps changing gives up.
func TestSignerRetiredWhileItSigns(t *testing.T) {
	w := newWorld(t)
	var changes, signed atomic.Int64
	changes.Store(1)
	w.soft.meet(func(_ string, next func() ([]byte, error)) ([]byte, error) {
		signed.Add(1)
		if changes.Add(-1) >= 0 {
			w.stage(demo)
			if err := w.activate(demo); err != nil {
				return nil, err
			}
		}
		return next()
	})
	res, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	no(t, err)
	is(t, "kid", res.GetKid(), w.signer(demo).Kid)
	is(t, "signatures", signed.Load(), 2)

	changes.Store(100)
	signed.Store(0)
	_, err = w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	refused(t, err, pb.Reason_REASON_SIGNER_CHANGED, "")
	is(t, "signatures before giving up", signed.Load(), 3)
}

// TestStaleSnapshot: when the store stops answering, the replica stops signing and publishing as soon as its snapshot is
// old, also in the middle of a signature.
func TestStaleSnapshot(t *testing.T) {
	gone := errors.New("connection refused")
	sign := func(w *world) error {
		_, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
		return err
	}
	t.Run("before", func(t *testing.T) {
		w := newWorld(t)
		restore := w.storeFails(gone, storetest.OpChanges)
		no(t, sign(w)) // the snapshot is still good
		w.offset.Add(int64(16 * time.Second))
		refused(t, sign(w), pb.Reason_REASON_SNAPSHOT_STALE, "")
		for name, call := range calls {
			if name != "intaglio.v1.SigningService.BatchSignTokens" {
				refused(t, call.do(t.Context(), w.as(root), here), pb.Reason_REASON_SNAPSHOT_STALE, "")
			}
		}
		restore()
		w.await("a fresh snapshot", func() bool { _, err := w.live.Current(); return err == nil })
		no(t, sign(w))
	})
	t.Run("after", func(t *testing.T) {
		w := newWorld(t)
		w.soft.meet(func(_ string, next func() ([]byte, error)) ([]byte, error) {
			w.storeFails(gone, storetest.OpChanges)
			w.offset.Add(int64(16 * time.Second))
			return next()
		})
		refused(t, sign(w), pb.Reason_REASON_SNAPSHOT_STALE, "")
	})
}

// TestHardCap is invariant 8: nothing signs after sign_until, not even a signature that began before it.
func TestHardCap(t *testing.T) {
	w := newWorld(t)
	w.stop()
	left := w.signer(demo).Window.SignUntil.Sub(w.now())
	w.forward(left - 2*time.Second)
	req := &pb.SignTokenRequest{Ring: demo, Claims: claims()}
	_, err := w.as(app).SignToken(t.Context(), req)
	no(t, err)
	w.soft.meet(func(_ string, next func() ([]byte, error)) ([]byte, error) {
		w.forward(3 * time.Second)
		return next()
	})
	_, err = w.as(app).SignToken(t.Context(), req)
	refused(t, err, pb.Reason_REASON_KEY_PAST_CAP, "")
	_, err = w.as(app).SignToken(t.Context(), req)
	refused(t, err, pb.Reason_REASON_KEY_PAST_CAP, "")
}

// TestCapSurvivesClockSetBack: a wall clock that is set back does not let a key sign that has reached its cap. One that
// is set forward stops it early.
func TestCapSurvivesClockSetBack(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	key := &keyring.Key{Serial: 1, Kid: "k", Window: keyring.Window{NotBefore: start.Add(-time.Hour), SignUntil: start.Add(time.Hour), VerifyUntil: start.Add(2 * time.Hour)}}
	line := &keyring.Line{Ring: &keyring.Ring{Name: demo}, Signer: key}
	for name, row := range map[string]struct {
		wall, elapsed time.Duration
		may           bool
	}{
		"before the cap":              {30 * time.Minute, 30 * time.Minute, true},
		"after it":                    {time.Hour, time.Hour, false},
		"after it, the clock back":    {-time.Minute, time.Hour, false},
		"before it, the clock ahead":  {time.Hour, time.Minute, false},
		"before it, the clock behind": {0, 59 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{now: func() time.Time { return start.Add(row.wall) }, start: start, elapsed: func() time.Duration { return row.elapsed }}
			_, err := s.signer(line, vetted{ring: demo})
			if row.may {
				no(t, err)
			} else {
				refused(t, err, pb.Reason_REASON_KEY_PAST_CAP, "")
			}
			is(t, "at the second look", s.stillSigner(line, key), row.may)
		})
	}
}

// TestBackendsThatFail: each failure has its own reason, and none of the backend's words.
func TestBackendsThatFail(t *testing.T) {
	w := newWorld(t)
	r := demoRing()
	r.Backend = "vault"
	w.makeRing("remote", r)
	req := &pb.SignTokenRequest{Ring: "demo/remote", Claims: claims()}
	for name, row := range map[string]struct {
		answer func(next func() ([]byte, error)) ([]byte, error)
		reason pb.Reason
	}{
		"a wrong signature": {func(next func() ([]byte, error)) ([]byte, error) {
			sig, err := next()
			sig[7] ^= 1
			return sig, err
		}, pb.Reason_REASON_SIGNATURE_WRONG},
		"a short signature": {func(next func() ([]byte, error)) ([]byte, error) { return []byte("signature"), nil }, pb.Reason_REASON_SIGNATURE_WRONG},
		"no signature":      {func(next func() ([]byte, error)) ([]byte, error) { return nil, nil }, pb.Reason_REASON_SIGNATURE_WRONG},
		"a defect":          {func(next func() ([]byte, error)) ([]byte, error) { return nil, errors.New("token s.hunter2") }, pb.Reason_REASON_INTERNAL},
		"a panic":           {func(next func() ([]byte, error)) ([]byte, error) { panic("token s.hunter2") }, pb.Reason_REASON_INTERNAL},
	} {
		t.Run(name, func(t *testing.T) {
			w.vault.meet(func(_ string, next func() ([]byte, error)) ([]byte, error) { return row.answer(next) })
			_, err := w.as(app).SignToken(t.Context(), req)
			refused(t, err, row.reason, "")
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the backend's words went to the caller: %v", err)
			}
		})
	}
	w.vault.down.Store(true)
	_, err := w.as(app).SignToken(t.Context(), req)
	refused(t, err, pb.Reason_REASON_BACKEND_UNAVAILABLE, "")
	_, err = w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	no(t, err) // one backend's trouble is not another's
}

// TestDeadlineReachesBackend: the caller's deadline ends a signature that hangs.
func TestDeadlineReachesBackend(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	defer close(release)
	w.soft.meet(func(_ string, next func() ([]byte, error)) ([]byte, error) {
		<-release
		return next()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := w.as(app).SignToken(ctx, &pb.SignTokenRequest{Ring: demo, Claims: claims()})
	if status.Code(err).String() != "DeadlineExceeded" || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// TestNoSecretsInTheLog: neither claims nor tokens are ever logged.
func TestNoSecretsInTheLog(t *testing.T) {
	w := newWorld(t)
	res, err := w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: []byte(`{"sub":"private-person","aud":"` + aud + `"}`)})
	no(t, err)
	_, err = w.as(app).SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: []byte(`{"sub":"private-person","aud":"https://other.test"}`)})
	refused(t, err, pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE, "claims")
	for _, secret := range append(strings.Split(res.GetToken(), ".")[1:], "private-person") {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}
