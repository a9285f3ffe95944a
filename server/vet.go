package server

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// maxClaims and maxDepth bound the caller's claims.
const (
	maxClaims = 8 << 10
	maxDepth  = 16
)

// vetted is a request that the ring's scope allows. Only vet makes one, and sign takes nothing else.
type vetted struct {
	ring      string
	members   []byte // of the caller's claims: what stands between the outer braces, byte for byte
	audiences []string
	issued    time.Time // iat, a whole second
	expires   time.Time // exp, a whole second
}

// owned are the claims that the service sets.
var owned = []string{"iss", "iat", "exp", "jti"}

// registered are the claims whose meaning RFC 7519, section 4.1, fixes; a variant in another case could be read for them.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// vet holds a request against the scope of its ring.
func (s *Server) vet(line *keyring.Line, req *pb.SignTokenRequest) (vetted, error) {
	ring := line.Ring
	if ring.Scope.Usage != keyring.Tokens {
		return vetted{}, fail(pb.Reason_REASON_RING_USAGE_WRONG, "ring %s is for %s and does not sign tokens", ring.Name, ring.Scope.Usage)
	}
	claims, err := jws.ParseObject(req.GetClaims(), maxClaims, maxDepth)
	if err != nil {
		return vetted{}, claimsFault(err)
	}
	v := vetted{ring: ring.Name, members: inner(req.GetClaims())}
	if err := v.names(claims); err != nil {
		return vetted{}, err
	}
	if err := v.audience(ring, claims); err != nil {
		return vetted{}, err
	}
	v.issued = s.now().UTC().Truncate(time.Second)
	if err := v.lifetime(ring, req); err != nil {
		return vetted{}, err
	}
	return v, nil
}

// names refuses the claims that are ours to set, variants of registered ones, and registered ones of the wrong type.
func (v *vetted) names(claims []jws.Member) error {
	for _, c := range claims {
		for _, name := range registered {
			if c.Name != name && strings.EqualFold(c.Name, name) {
				return failField(pb.Reason_REASON_CLAIM_INVALID, "claims", "claims refused: %q (byte %d) differs from %q only in case; some verifiers would read one for the other", c.Name, c.Offset, name)
			}
		}
		if slices.Contains(owned, c.Name) {
			return failField(pb.Reason_REASON_CLAIM_RESERVED, "claims", "claims refused: %q (byte %d) is set by the service; leave it out", c.Name, c.Offset)
		}
		if err := wellTyped(c); err != nil {
			return failField(pb.Reason_REASON_CLAIM_INVALID, "claims", "claims refused: %q (byte %d): %v", c.Name, c.Offset, err)
		}
	}
	return nil
}

func wellTyped(c jws.Member) error {
	switch c.Name {
	case "sub":
		_, err := c.Text()
		return err
	case "nbf":
		_, err := c.NumericDate()
		return err
	}
	return nil
}

// audience requires aud, and every value of it to be in the ring's scope.
func (v *vetted) audience(ring *keyring.Ring, claims []jws.Member) error {
	i := slices.IndexFunc(claims, func(c jws.Member) bool { return c.Name == "aud" })
	if i < 0 {
		return failField(pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE, "claims", "claims refused: no aud; ring %s signs for named audiences only", ring.Name)
	}
	audiences, err := claims[i].Strings()
	if err != nil || len(audiences) == 0 {
		return failField(pb.Reason_REASON_CLAIM_INVALID, "claims", `claims refused: "aud" (byte %d) must be a string or a non-empty list of strings`, claims[i].Offset)
	}
	v.audiences = audiences
	return inScope(ring.Scope, ring.Name, audiences)
}

func inScope(scope keyring.Scope, owner string, audiences []string) error {
	for _, aud := range audiences {
		if !scope.Audiences.Allows(aud) {
			return failField(pb.Reason_REASON_AUDIENCE_OUT_OF_SCOPE, "claims", "claims refused: audience %q is not in the scope of %s", aud, owner)
		}
	}
	return nil
}

// lifetime works out exp: the request's own, or the ring's default, never past the ring's longest.
func (v *vetted) lifetime(ring *keyring.Ring, req *pb.SignTokenRequest) error {
	ttl := ring.DefaultTTL
	switch e := req.GetExpiration().(type) {
	case *pb.SignTokenRequest_Ttl:
		if err := e.Ttl.CheckValid(); err != nil {
			return failField(pb.Reason_REASON_TTL_OUT_OF_SCOPE, "ttl", "TTL refused: %v", err)
		}
		ttl = e.Ttl.AsDuration().Truncate(time.Second)
	case *pb.SignTokenRequest_ExpireTime:
		if err := e.ExpireTime.CheckValid(); err != nil {
			return failField(pb.Reason_REASON_TTL_OUT_OF_SCOPE, "expire_time", "expire_time refused: %v", err)
		}
		ttl = e.ExpireTime.AsTime().Truncate(time.Second).Sub(v.issued)
	}
	if ttl < time.Second || ttl > ring.Scope.MaxTTL {
		shown := ttl.String()
		if ttl == math.MaxInt64 || ttl == math.MinInt64 {
			shown = "centuries"
		}
		return failField(pb.Reason_REASON_TTL_OUT_OF_SCOPE, "expiration", "TTL refused: %s is not within 1s .. %s, the longest that ring %s signs for", shown, ring.Scope.MaxTTL, ring.Name)
	}
	v.expires = v.issued.Add(ttl)
	return nil
}

// inner cuts the outer braces, and the white space around and within them, off a JSON object that was parsed before.
func inner(object []byte) []byte {
	const space = " \t\r\n"
	from, to := 0, len(object)
	for strings.IndexByte(space, object[from]) >= 0 {
		from++
	}
	for strings.IndexByte(space, object[to-1]) >= 0 {
		to--
	}
	from, to = from+1, to-1
	for from < to && strings.IndexByte(space, object[from]) >= 0 {
		from++
	}
	for from < to && strings.IndexByte(space, object[to-1]) >= 0 {
		to--
	}
	return object[from:to]
}

// claimsFault gives the parser's findings their place in the list of reasons.
func claimsFault(err error) error {
	reason := pb.Reason_REASON_CLAIMS_MALFORMED
	if e := (*jws.Error)(nil); errors.As(err, &e) {
		switch e.Code {
		case jws.Duplicate, jws.CaseVariant:
			reason = pb.Reason_REASON_CLAIM_DUPLICATE
		case jws.TooLarge, jws.TooDeep:
			reason = pb.Reason_REASON_CLAIMS_TOO_LARGE
		}
	}
	return failField(reason, "claims", "claims refused: %v", err)
}
