// Package tokencheck decides whether a relying party should accept a token, given the issuer's key set.
//
// Use [Check]: it holds a token against everything the key set says of the key that signed it, and never against the
// signature alone. A refusal is an [*Refused] with a reason that does not change.
package tokencheck

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/internal/jws"
)

// maxSkew caps how far clocks are let be apart: beyond it a check of times is no check.
const maxSkew = 10 * time.Minute

// Policy is what the relying party insists on.
type Policy struct {
	Now  time.Time     // required
	Skew time.Duration // by how much the signer's clock may differ, 0 to 10 min
	// Audience is who we are: the token must be meant for it. Empty takes any audience that the key may sign for, and the
	// verdict warns of it.
	Audience string
}

// A Verdict is an accepted token.
type Verdict struct {
	Key      *pb.PublishedKey
	Alg, Typ string
	Payload  []byte       // the claims, byte for byte
	Claims   []jws.Member // the same, in order
	IssuedAt time.Time
	Expires  time.Time
	Warnings []string
}

// Refused is why a token is not accepted.
type Refused struct {
	Reason Reason
	Why    string
	Kid    string         // of the token; empty when it could not be read
	Key    *pb.RevokedKey // when Reason is KeyRevoked
	// SignatureOnly is what a check of nothing but the signature would have said of the same token.
	SignatureOnly string
}

// Reason is a stable word for a refusal.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Malformed        Reason = "TOKEN_MALFORMED"
	KeySetStale      Reason = "KEY_SET_STALE"
	KeyRevoked       Reason = "KEY_REVOKED"
	KeyUnknown       Reason = "KEY_UNKNOWN"
	KeyUnusable      Reason = "KEY_UNUSABLE"
	HeaderWrong      Reason = "HEADER_WRONG"
	SignatureWrong   Reason = "SIGNATURE_WRONG"
	IssuerWrong      Reason = "ISSUER_WRONG"
	ClaimMissing     Reason = "CLAIM_MISSING"
	Expired          Reason = "TOKEN_EXPIRED"
	NotYetValid      Reason = "TOKEN_NOT_YET_VALID"
	OutsideWindow    Reason = "OUTSIDE_KEY_WINDOW"
	LivesTooLong     Reason = "LIVES_TOO_LONG"
	AudienceWrong    Reason = "AUDIENCE_WRONG"
	AudienceOutScope Reason = "AUDIENCE_OUT_OF_SCOPE"
)

func (r *Refused) Error() string { return "refused: " + r.Why }

// signatureNever is said where no signature could be looked at.
const signatureNever = "nothing: it would not get as far as the signature"

func refuse(reason Reason, format string, args ...any) *Refused {
	return &Refused{Reason: reason, Why: fmt.Sprintf(format, args...)}
}

// Check holds token against the key set of its issuer. The key must be listed and not revoked; alg, typ, kid and signature must be
// the key's, iss the issuer's to the byte, iat within the key's window, the life no longer than the key allows, and every audience
// within its scope. The error is an [*Refused].
func Check(token string, set *pb.KeySet, p Policy) (*Verdict, error) {
	u, err := jws.Parse(token, 0)
	if err != nil {
		r := refuse(Malformed, "%v", err)
		r.SignatureOnly = signatureNever
		return nil, r
	}
	v, r := check(u, set, p)
	if r == nil {
		return v, nil
	}
	r.Kid = u.Kid()
	r.SignatureOnly = signatureOnly(u, set)
	return nil, r
}

func check(u *jws.Unverified, set *pb.KeySet, p Policy) (*Verdict, *Refused) {
	p.Skew = min(max(p.Skew, 0), maxSkew)
	if r := fresh(set, p); r != nil {
		return nil, r
	}
	key, r := find(u, set)
	if r != nil {
		return nil, r
	}
	public, err := jws.ParseJWK(key.GetJwk())
	if err != nil || public.Kid() != key.GetKid() {
		return nil, refuse(KeyUnusable, "the key set's entry for %s is not that key", key.GetKid())
	}
	v := &Verdict{Key: key, Alg: u.Alg(), Typ: u.Typ()}
	if v.Payload, err = u.Verify(public, key.GetTyp()); err != nil {
		if failed := (*jws.Error)(nil); errors.As(err, &failed) && failed.Code != jws.BadSignature {
			return nil, refuse(HeaderWrong, "its header does not fit its key: %v", err)
		}
		return nil, refuse(SignatureWrong, "its signature is not by the key it names")
	}
	if v.Claims, err = jws.ParseClaims(v.Payload, 0); err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	for _, step := range []func(*pb.KeySet, Policy) *Refused{v.issuer, v.times, v.window, v.audience} {
		if r := step(set, p); r != nil {
			return nil, r
		}
	}
	return v, nil
}

// fresh refuses a set that is older than its server says it may be.
func fresh(set *pb.KeySet, p Policy) *Refused {
	if set.GetReadTime() == nil || set.GetMaxStale() == nil {
		return refuse(KeySetStale, "the key set does not say how old it is")
	}
	age := p.Now.Sub(set.GetReadTime().AsTime())
	if age > set.GetMaxStale().AsDuration()+p.Skew {
		return refuse(KeySetStale, "the key set is %v old, good for %v", age.Round(time.Second), set.GetMaxStale().AsDuration())
	}
	return nil
}

// find looks among the revoked keys first.
func find(u *jws.Unverified, set *pb.KeySet) (*pb.PublishedKey, *Refused) {
	for _, k := range set.GetRevoked() {
		if k.GetKid() == u.Kid() {
			r := refuse(KeyRevoked, "its key %s was revoked at %s by operation %s", k.GetKid(),
				k.GetRevokeTime().AsTime().Format("2006-01-02 15:04:05Z"), strings.TrimPrefix(k.GetOperation(), "operations/"))
			r.Key = k
			return nil, r
		}
	}
	for _, k := range set.GetKeys() {
		if k.GetKid() == u.Kid() {
			return k, nil
		}
	}
	return nil, refuse(KeyUnknown, "its key %s is not in the key set of %s", u.Kid(), set.GetIssuer())
}

func (v *Verdict) claim(name string) (jws.Member, bool) {
	i := slices.IndexFunc(v.Claims, func(m jws.Member) bool { return m.Name == name })
	if i < 0 {
		return jws.Member{}, false
	}
	return v.Claims[i], true
}

func (v *Verdict) issuer(set *pb.KeySet, _ Policy) *Refused {
	m, ok := v.claim("iss")
	if !ok {
		return refuse(ClaimMissing, "it has no iss")
	}
	if iss, err := m.Text(); err != nil || iss != set.GetIssuerUri() {
		return refuse(IssuerWrong, "its iss is %q; the key set is that of %q", iss, set.GetIssuerUri())
	}
	return nil
}

// times checks exp, nbf and iat against the clock.
func (v *Verdict) times(_ *pb.KeySet, p Policy) *Refused {
	moments := map[string]time.Time{}
	for _, name := range []string{"exp", "nbf", "iat"} {
		m, ok := v.claim(name)
		if !ok {
			if name == "nbf" {
				continue
			}
			return refuse(ClaimMissing, "it has no %s", name)
		}
		t, err := m.NumericDate()
		if err != nil {
			return refuse(Malformed, "%v", err)
		}
		moments[name] = t
	}
	v.Expires, v.IssuedAt = moments["exp"], moments["iat"]
	if !p.Now.Before(v.Expires.Add(p.Skew)) {
		return refuse(Expired, "it expired at %s", v.Expires.Format("2006-01-02 15:04:05Z"))
	}
	for _, name := range []string{"nbf", "iat"} {
		if t, ok := moments[name]; ok && t.After(p.Now.Add(p.Skew)) {
			return refuse(NotYetValid, "its %s is %s, still to come", name, t.Format("2006-01-02 15:04:05Z"))
		}
	}
	return nil
}

// window checks iat against the key's own times, and its life against the key's limit.
func (v *Verdict) window(_ *pb.KeySet, p Policy) *Refused {
	w := v.Key.GetWindow()
	if w.GetNotBefore() == nil || w.GetSignUntil() == nil || w.GetVerifyUntil() == nil || v.Key.GetMaxTtl() == nil {
		return refuse(KeyUnusable, "the key set does not say when key %s may be used", v.Key.GetKid())
	}
	if v.IssuedAt.Before(w.GetNotBefore().AsTime()) || !v.IssuedAt.Before(w.GetSignUntil().AsTime()) {
		return refuse(OutsideWindow, "it was issued at %s, when its key could not sign", v.IssuedAt.Format("2006-01-02 15:04:05Z"))
	}
	if !p.Now.Before(w.GetVerifyUntil().AsTime()) {
		return refuse(OutsideWindow, "no token of its key is good since %s", w.GetVerifyUntil().AsTime().Format("2006-01-02 15:04:05Z"))
	}
	if life := v.Expires.Sub(v.IssuedAt); life > v.Key.GetMaxTtl().AsDuration() {
		return refuse(LivesTooLong, "it lives for %v; its key signs for %v at most", life, v.Key.GetMaxTtl().AsDuration())
	}
	return nil
}

// audience wants the token to be meant for us, and for nobody outside the key's scope.
func (v *Verdict) audience(_ *pb.KeySet, p Policy) *Refused {
	m, ok := v.claim("aud")
	if !ok {
		return refuse(ClaimMissing, "it has no aud")
	}
	audiences, err := m.Strings()
	if err != nil || len(audiences) == 0 {
		return refuse(ClaimMissing, "its aud names nobody")
	}
	for _, aud := range audiences {
		if !allows(v.Key.GetAudiences(), aud) {
			return refuse(AudienceOutScope, "it is meant for %q, for whom its key may not sign", aud)
		}
	}
	if p.Audience == "" {
		v.Warnings = append(v.Warnings, fmt.Sprintf("no audience was asked for: %s was accepted because the key may sign for it; a service must ask for its own",
			strings.Join(audiences, ", ")))
		return nil
	}
	if !slices.Contains(audiences, p.Audience) {
		return refuse(AudienceWrong, "it is meant for %s, not for %s", strings.Join(audiences, ", "), p.Audience)
	}
	return nil
}

func allows(a *pb.Audiences, aud string) bool {
	return a.GetAny() || slices.Contains(a.GetExact(), aud) ||
		slices.ContainsFunc(a.GetPrefixes(), func(p string) bool { return p != "" && strings.HasPrefix(aud, p) })
}

// signatureOnly says what comes of a check that asks for nothing but a signature by a known key.
func signatureOnly(u *jws.Unverified, set *pb.KeySet) string {
	for _, k := range set.GetKeys() {
		if k.GetKid() != u.Kid() {
			continue
		}
		public, err := jws.ParseJWK(k.GetJwk())
		if err != nil {
			break
		}
		if _, err := u.Verify(public, u.Typ()); err == nil {
			return "valid: the signature is right, and that is all it looks at"
		}
		return "not valid either"
	}
	return "valid, for as long as it keeps the key in its cache: a signature does not know that its key is gone"
}
