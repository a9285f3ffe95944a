package tokencheck_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/tokencheck"
	"intaglio.example/internal/jws"
)

const (
	issuer = "https://demo.test"
	api    = "https://api.demo.test"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A signer is a key and what the key set says of it.
type signer struct {
	key       *ecdsa.PrivateKey
	public    *jws.PublicKey
	published *pb.PublishedKey
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jws.NewPublicKey(jws.ES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, public, &pb.PublishedKey{
		Kid: public.Kid(), Jwk: public.JWK(), Ring: "issuers/demo/rings/access", Typ: "at+jwt",
		Audiences: &pb.Audiences{Exact: []string{api}, Prefixes: []string{"https://tenant.demo.test/"}},
		MaxTtl:    durationpb.New(time.Hour),
		Window: &pb.Window{
			NotBefore:   timestamppb.New(now.Add(-24 * time.Hour)),
			SignUntil:   timestamppb.New(now.Add(24 * time.Hour)),
			VerifyUntil: timestamppb.New(now.Add(25 * time.Hour)),
		},
	}}
}

func (s *signer) set() *pb.KeySet {
	return &pb.KeySet{
		Issuer: "issuers/demo", IssuerUri: issuer, Revision: 7, Keys: []*pb.PublishedKey{s.published},
		ReadTime: timestamppb.New(now), MaxStale: durationpb.New(time.Minute),
	}
}

func (s *signer) sign(t *testing.T, alg jws.Alg, kid, typ, claims string) string {
	t.Helper()
	input := jws.AppendSigningInput(nil, alg, kid, typ, []byte(claims))
	digest := sha256.Sum256(input)
	r, x, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 32)), x.FillBytes(make([]byte, 32))...)
	return string(jws.AppendSignature(input, sig))
}

func (s *signer) token(t *testing.T, claims string) string {
	return s.sign(t, jws.ES256, s.public.Kid(), "at+jwt", claims)
}

// claims is a good token's, with changes as pairs: a name and a JSON value, or "" to leave it out.
func claims(changes ...string) string {
	values := map[string]string{
		"iss": `"` + issuer + `"`, "aud": `"` + api + `"`, "sub": `"alice"`,
		"iat": fmt.Sprint(now.Add(-time.Minute).Unix()), "exp": fmt.Sprint(now.Add(time.Minute).Unix()),
	}
	for i := 0; i < len(changes); i += 2 {
		values[changes[i]] = changes[i+1]
	}
	var members []string
	for name, v := range values {
		if v != "" {
			members = append(members, fmt.Sprintf("%q:%s", name, v))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func at(t time.Time) string { return fmt.Sprint(t.Unix()) }

func policy() tokencheck.Policy {
	return tokencheck.Policy{Now: now, Skew: time.Minute, Audience: api}
}

func TestAccepted(t *testing.T) {
	s := newSigner(t)
	for name, c := range map[string]string{
		"plain":                 claims(),
		"within the skew":       claims("exp", at(now.Add(-59*time.Second)), "iat", at(now.Add(-time.Hour))),
		"iat within the skew":   claims("iat", at(now.Add(59*time.Second))),
		"two audiences":         claims("aud", `["https://tenant.demo.test/9","`+api+`"]`),
		"nbf":                   claims("nbf", at(now)),
		"the longest life":      claims("iat", at(now.Add(-30*time.Minute)), "exp", at(now.Add(30*time.Minute))),
		"the first second":      claims("iat", at(now.Add(-30*time.Minute)), "exp", at(now.Add(time.Minute))),
		"a claim of the caller": claims("n", "9007199254740993"),
	} {
		v, err := tokencheck.Check(s.token(t, c), s.set(), policy())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.Key.GetKid() != s.public.Kid() || v.Alg != "ES256" || string(v.Payload) != c || len(v.Warnings) > 0 {
			t.Errorf("%s: verdict %+v", name, v)
		}
	}
}

// TestClaimsRefused: one claim at a time is wrong, and the signature is right each time.
func TestClaimsRefused(t *testing.T) {
	s := newSigner(t)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		claims string
		reason tokencheck.Reason
	}{
		"no iss":               {claims("iss", ""), tokencheck.ClaimMissing},
		"another issuer":       {claims("iss", `"https://demo.test/"`), tokencheck.IssuerWrong},
		"no exp":               {claims("exp", ""), tokencheck.ClaimMissing},
		"no iat":               {claims("iat", ""), tokencheck.ClaimMissing},
		"expired":              {claims("exp", at(now.Add(-time.Minute))), tokencheck.Expired},
		"issued in the future": {claims("iat", at(now.Add(61*time.Second)), "exp", at(now.Add(2*time.Minute))), tokencheck.NotYetValid},
		"nbf in the future":    {claims("nbf", at(now.Add(61*time.Second))), tokencheck.NotYetValid},
		"before the key":       {claims("iat", at(now.Add(-day-time.Second)), "exp", at(now.Add(time.Minute))), tokencheck.OutsideWindow},
		"lives too long":       {claims("iat", at(now.Add(-time.Minute)), "exp", at(now.Add(time.Hour))), tokencheck.LivesTooLong},
		"no aud":               {claims("aud", ""), tokencheck.ClaimMissing},
		"empty aud":            {claims("aud", "[]"), tokencheck.ClaimMissing},
		"for somebody else":    {claims("aud", `"https://tenant.demo.test/9"`), tokencheck.AudienceWrong},
		"beyond the scope":     {claims("aud", `["`+api+`","https://evil.test"]`), tokencheck.AudienceOutScope},
	} {
		_, err := tokencheck.Check(s.token(t, c.claims), s.set(), policy())
		r := (*tokencheck.Refused)(nil)
		if !errors.As(err, &r) || r.Reason != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
			continue
		}
		if !strings.HasPrefix(r.SignatureOnly, "valid: ") {
			t.Errorf("%s: a signature-only check would have said %q", name, r.SignatureOnly)
		}
	}
}

// TestKeyRefused: the claims are right each time, and what the key set says is changed.
func TestKeyRefused(t *testing.T) {
	other := newSigner(t)
	for name, c := range map[string]struct {
		change func(*pb.KeySet)
		reason tokencheck.Reason
	}{
		"stale":               {func(s *pb.KeySet) { s.ReadTime = timestamppb.New(now.Add(-121 * time.Second)) }, tokencheck.KeySetStale},
		"of unknown age":      {func(s *pb.KeySet) { s.ReadTime = nil }, tokencheck.KeySetStale},
		"not listed":          {func(s *pb.KeySet) { s.Keys = nil }, tokencheck.KeyUnknown},
		"another ring's typ":  {func(s *pb.KeySet) { s.Keys[0].Typ = "JWT" }, tokencheck.HeaderWrong},
		"another key's bytes": {func(s *pb.KeySet) { s.Keys[0].Jwk = other.public.JWK() }, tokencheck.KeyUnusable},
		"no window":           {func(s *pb.KeySet) { s.Keys[0].Window = nil }, tokencheck.KeyUnusable},
		"no limit":            {func(s *pb.KeySet) { s.Keys[0].MaxTtl = nil }, tokencheck.KeyUnusable},
		"past its end":        {func(s *pb.KeySet) { s.Keys[0].Window.VerifyUntil = timestamppb.New(now) }, tokencheck.OutsideWindow},
		"past its cap":        {func(s *pb.KeySet) { s.Keys[0].Window.SignUntil = timestamppb.New(now.Add(-time.Minute)) }, tokencheck.OutsideWindow},
		"no audiences":        {func(s *pb.KeySet) { s.Keys[0].Audiences = nil }, tokencheck.AudienceOutScope},
		"an empty prefix":     {func(s *pb.KeySet) { s.Keys[0].Audiences = &pb.Audiences{Prefixes: []string{""}} }, tokencheck.AudienceOutScope},
		"revoked and listed": {func(s *pb.KeySet) {
			s.Revoked = []*pb.RevokedKey{{Kid: s.Keys[0].Kid, RevokeTime: timestamppb.New(now), Operation: "operations/42"}}
		}, tokencheck.KeyRevoked},
	} {
		s := newSigner(t)
		set := proto.Clone(s.set()).(*pb.KeySet)
		c.change(set)
		_, err := tokencheck.Check(s.token(t, claims()), set, policy())
		r := (*tokencheck.Refused)(nil)
		if !errors.As(err, &r) || r.Reason != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
			continue
		}
		if r.Reason == tokencheck.KeyRevoked && (r.Key == nil || !strings.Contains(err.Error(), "by operation 42")) {
			t.Errorf("%s: %v does not say which operation", name, err)
		}
	}
}

func TestTokenRefused(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	good := s.token(t, claims())
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"` + s.public.Kid() + `","typ":"at+jwt"}`))
	_, rest, _ := strings.Cut(good, ".")
	for name, c := range map[string]struct {
		token  string
		reason tokencheck.Reason
	}{
		"nothing":             {"", tokencheck.Malformed},
		"not a token":         {"a.b", tokencheck.Malformed},
		"a character more":    {good + "A", tokencheck.SignatureWrong},
		"alg none":            {header + "." + rest, tokencheck.HeaderWrong},
		"another alg":         {s.sign(t, jws.ES384, s.public.Kid(), "at+jwt", claims()), tokencheck.HeaderWrong},
		"another typ":         {s.sign(t, jws.ES256, s.public.Kid(), "JWT", claims()), tokencheck.HeaderWrong},
		"by another key":      {other.sign(t, jws.ES256, s.public.Kid(), "at+jwt", claims()), tokencheck.SignatureWrong},
		"of an unknown key":   {other.token(t, claims()), tokencheck.KeyUnknown},
		"a claim named twice": {s.token(t, `{"aud":"`+api+`","aud":"x"}`), tokencheck.Malformed},
	} {
		_, err := tokencheck.Check(c.token, s.set(), policy())
		r := (*tokencheck.Refused)(nil)
		if !errors.As(err, &r) || r.Reason != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
}

func TestNoAudienceWarns(t *testing.T) {
	s := newSigner(t)
	p := policy()
	p.Audience = ""
	v, err := tokencheck.Check(s.token(t, claims()), s.set(), p)
	if err != nil || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], api) {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestSkewIsCapped: a policy that forgives everything forgives ten minutes.
func TestSkewIsCapped(t *testing.T) {
	s := newSigner(t)
	p := policy()
	p.Skew = 24 * time.Hour
	c := claims("iat", at(now.Add(-time.Hour)), "exp", at(now.Add(-11*time.Minute)))
	if _, err := tokencheck.Check(s.token(t, c), s.set(), p); err == nil {
		t.Error("a token that expired 11 minutes ago was accepted")
	}
}
