package server

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// token is a signed token and what it was signed with.
type token struct {
	compact, kid, jti string
	issued, expires   time.Time
}

// attempts is how often a token is signed: once, and at most twice again when its signer changed meanwhile.
const attempts = 3

// sign has v signed by the signer of line, which comes from a fresh snapshot, and lets the token out only if that key is
// still the signer in a snapshot that is fresh after the backend has signed. If another key is by then, it signs again.
func (s *Server) sign(ctx context.Context, line *keyring.Line, v vetted) (token, error) {
	for range attempts {
		key, err := s.signer(line, v)
		if err != nil {
			return token{}, err
		}
		t, err := s.signWith(ctx, line, key, v)
		now, lost := s.line(v.ring)
		switch {
		case lost != nil:
			return token{}, lost
		case s.stillSigner(now, key):
			return t, err
		}
		line = now // whatever came of the old signer is dropped, an error too
	}
	return token{}, fail(pb.Reason_REASON_SIGNER_CHANGED, "the signer of ring %s changed %d times while it signed; try again", v.ring, attempts)
}

func (s *Server) line(ring string) (*keyring.Line, error) {
	snap, err := s.live.Current()
	if err != nil {
		return nil, err
	}
	return lineOf(snap, ring)
}

func noSigner(ring string) error {
	return fail(pb.Reason_REASON_NO_SIGNER, "no key of ring %s can sign: each is revoked or not yet made", ring)
}

// signer is the snapshot's signer, unless its window or the scope it was reserved with forbids this token.
func (s *Server) signer(line *keyring.Line, v vetted) (*keyring.Key, error) {
	key := line.Signer
	if key == nil {
		return nil, noSigner(v.ring)
	}
	if !key.Window.Allows(s.vetoTime()) {
		return nil, fail(pb.Reason_REASON_KEY_PAST_CAP, "key %s may sign from %s until %s only, and the ring has no other",
			keyring.KeyID(v.ring, key.Serial), key.Window.NotBefore.Format(time.RFC3339), key.Window.SignUntil.Format(time.RFC3339))
	}
	if v.expires.Sub(v.issued) > key.Scope.MaxTTL || v.expires.After(key.Window.VerifyUntil) {
		return nil, failField(pb.Reason_REASON_TTL_OUT_OF_SCOPE, "expiration", "TTL refused: key %s was reserved for at most %v; a longer one takes effect with the ring's next key",
			keyring.KeyID(v.ring, key.Serial), key.Scope.MaxTTL)
	}
	return key, inScope(key.Scope, "key "+strconv.FormatUint(key.Serial, 10)+" of ring "+v.ring, v.audiences)
}

// signWith builds the token and has key sign it.
func (s *Server) signWith(ctx context.Context, line *keyring.Line, key *keyring.Key, v vetted) (token, error) {
	public, err := s.public.of(key)
	if err != nil {
		return token{}, err
	}
	jti := rand.Text()
	payload := appendPayload(make([]byte, 0, len(line.Issuer.URL)+len(v.members)+128), line.Issuer.URL, jti, v)
	input := jws.AppendSigningInput(make([]byte, 0, len(payload)*4/3+256+public.SignatureSize()*4/3), public.Alg(), key.Kid, key.Scope.Typ, payload)
	signature, err := s.backends.Sign(ctx, key.Backend, key.Ref, public, input)
	if err != nil {
		return token{}, err
	}
	return token{
		compact: string(jws.AppendSignature(input, signature)), kid: key.Kid, jti: jti,
		issued: v.issued, expires: v.expires,
	}, nil
}

// appendPayload splices our four claims before the caller's members, which it copies byte for byte.
func appendPayload(dst []byte, issuer, jti string, v vetted) []byte {
	dst = append(dst, `{"iss":`...)
	dst = jws.AppendString(dst, issuer)
	dst = append(dst, `,"iat":`...)
	dst = strconv.AppendInt(dst, v.issued.Unix(), 10)
	dst = append(dst, `,"exp":`...)
	dst = strconv.AppendInt(dst, v.expires.Unix(), 10)
	dst = append(dst, `,"jti":"`...)
	dst = append(dst, jti...) // base32: needs no escaping
	dst = append(dst, `",`...)
	dst = append(dst, v.members...) // never empty: aud is required
	return append(dst, '}')
}

// stillSigner is the second look: is key the signer of its ring as it stands now, and may it sign now?
func (s *Server) stillSigner(line *keyring.Line, key *keyring.Key) bool {
	now := line.Signer
	return now != nil && now.Serial == key.Serial && now.Kid == key.Kid && now.Window.Allows(s.vetoTime())
}

// vetoTime is the time that a key's window is held against: the wall clock's, or what it would be had nobody set it since
// this server started, if that is later. A clock set back brings no key back from beyond its cap.
func (s *Server) vetoTime() time.Time {
	wall, counted := s.now(), s.start.Add(s.elapsed())
	if counted.After(wall) {
		return counted
	}
	return wall
}

// publicKeys remembers parsed public keys by kid. A kid is a thumbprint, so an entry can never be wrong.
type publicKeys struct {
	parsed sync.Map // kid → *jws.PublicKey
	size   atomic.Int64
}

// maxPublicKeys bounds the memory of dead keys; beyond it everything is parsed anew.
const maxPublicKeys = 1 << 16

func (p *publicKeys) of(k *keyring.Key) (*jws.PublicKey, error) {
	if known, ok := p.parsed.Load(k.Kid); ok {
		if public := known.(*jws.PublicKey); string(public.Alg()) == k.Algorithm {
			return public, nil
		}
	}
	alg, err := jws.ParseAlg(k.Algorithm)
	if err != nil {
		return nil, err
	}
	public, err := jws.ParsePKIX(alg, k.PublicKey)
	if err != nil {
		return nil, err
	}
	if public.Kid() != k.Kid {
		return nil, fail(pb.Reason_REASON_INTERNAL, "the recorded kid of a key is not its thumbprint")
	}
	if p.size.Add(1) > maxPublicKeys {
		p.parsed.Clear()
		p.size.Store(1)
	}
	p.parsed.Store(k.Kid, public)
	return public, nil
}
