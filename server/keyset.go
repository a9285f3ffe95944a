package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// keySet is what one issuer publishes at one position, ready to be sent. It never changes.
type keySet struct {
	position keyring.Position
	url      string
	jwks     []byte
	etag     string
	algs     []string
	keys     []*pb.PublishedKey
	revoked  []*pb.RevokedKey
}

// keySets keeps the newest key set of each issuer, so that serving one touches neither the store nor a backend, nor
// builds it twice.
type keySets struct {
	mu    sync.Mutex // guards built; held while one is built, which costs microseconds a key
	built map[string]*keySet
}

// keySet returns what issuer publishes in snap.
func (s *Server) keySet(snap *keyring.Snapshot, issuer *keyring.Issuer) (*keySet, error) {
	s.sets.mu.Lock()
	defer s.sets.mu.Unlock()
	if known := s.sets.built[issuer.Name]; known != nil && known.position == snap.Position {
		return known, nil
	}
	set := &keySet{position: snap.Position, url: issuer.URL}
	for _, line := range snap.LinesOf(issuer.Name) {
		if err := s.publish(set, snap, line.Ring); err != nil {
			return nil, err
		}
	}
	set.finish()
	if s.sets.built == nil {
		s.sets.built = map[string]*keySet{}
	}
	s.sets.built[issuer.Name] = set
	return set, nil
}

// publish adds the keys of one ring: those that may verify, and those that must not any more.
func (s *Server) publish(set *keySet, snap *keyring.Snapshot, ring *keyring.Ring) error {
	for i := range ring.Keys {
		k := &ring.Keys[i]
		switch {
		case k.Kid == "":
		case snap.Revoked(ring, k):
			set.revoked = append(set.revoked, revokedKey(snap, ring, k))
		case k.State.Published():
			public, err := s.public.of(k)
			if err != nil {
				return fmt.Errorf("publishing %s: %w", keyring.KeyID(ring.Name, k.Serial), err)
			}
			set.keys = append(set.keys, &pb.PublishedKey{
				Kid: k.Kid, Jwk: public.JWK(), Ring: ring.Name, Typ: k.Scope.Typ,
				Audiences: audiencesToProto(k.Scope.Audiences), MaxTtl: durationpb.New(k.Scope.MaxTTL), Window: windowToProto(k.Window),
			})
			if !slices.Contains(set.algs, k.Algorithm) {
				set.algs = append(set.algs, k.Algorithm)
			}
		}
	}
	return nil
}

// revokedKey says when and by what a key was revoked: the first cutoff that fells it, or its record alone.
func revokedKey(snap *keyring.Snapshot, ring *keyring.Ring, k *keyring.Key) *pb.RevokedKey {
	for i := range snap.Cutoffs {
		if c := &snap.Cutoffs[i]; c.Fells(ring, k) {
			return &pb.RevokedKey{Kid: k.Kid, RevokeTime: timestamppb.New(c.Time), Operation: c.Operation}
		}
	}
	return &pb.RevokedKey{Kid: k.Kid, RevokeTime: timestamppb.New(k.Revoked)}
}

// finish orders the set and writes its JWK Set (RFC 7517, section 5), in an order that only changes when a key does.
func (set *keySet) finish() {
	slices.SortFunc(set.keys, func(a, b *pb.PublishedKey) int { return strings.Compare(a.Kid, b.Kid) })
	slices.SortFunc(set.revoked, func(a, b *pb.RevokedKey) int { return strings.Compare(a.Kid, b.Kid) })
	slices.Sort(set.algs)
	set.jwks = append(set.jwks, `{"keys":[`...)
	for i, k := range set.keys {
		if i > 0 {
			set.jwks = append(set.jwks, ',')
		}
		set.jwks = append(set.jwks, k.Jwk...)
	}
	set.jwks = append(set.jwks, `]}`...)
	sum := sha256.Sum256(set.jwks)
	set.etag = `"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `"`
}

// keySetService is intaglio.v1.KeySetService.
type keySetService struct {
	pb.UnsafeKeySetServiceServer
	*Server
}

// GetKeySet returns an issuer's keys with their scope and windows, and the kids it has revoked.
func (s *keySetService) GetKeySet(ctx context.Context, req *pb.GetKeySetRequest) (*pb.KeySet, error) {
	name, err := issuerIn("issuer", req.GetIssuer())
	if err != nil {
		return nil, err
	}
	snap, _, err := s.admit(ctx, keyring.Verify, name+"/*")
	if err != nil {
		return nil, err
	}
	issuer, err := issuerOf(snap, name)
	if err != nil {
		return nil, err
	}
	set, err := s.keySet(snap, issuer)
	if err != nil {
		return nil, err
	}
	return &pb.KeySet{
		Issuer: longIssuer(name), IssuerUri: set.url, Revision: int64(set.position.Revision),
		Keys: set.keys, Revoked: set.revoked,
		ReadTime: timestamppb.New(snap.Asked()), MaxStale: durationpb.New(snap.Timing.SnapshotTTL),
	}, nil
}
