package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/test/acceptance/internal/devserver"
)

const rings = 6

// load is what goes on while the server is killed, and what was confirmed to it.
type load struct {
	random *mrand.Rand
	rings  []string

	signed, rotated, cuts, retained atomic.Int64

	mu      sync.Mutex        // guards the rest
	revoked map[string]string // kid → the operation that was confirmed to have revoked it
	undead  int
}

type client struct {
	conn       *grpc.ClientConn
	signing    pb.SigningServiceClient
	admin      pb.AdminServiceClient
	revocation pb.RevocationServiceClient
}

func dial(s *devserver.Server) (*client, error) {
	conn, err := s.Dial()
	if err != nil {
		return nil, err
	}
	return &client{conn, pb.NewSigningServiceClient(conn), pb.NewAdminServiceClient(conn), pb.NewRevocationServiceClient(conn)}, nil
}

func (c *client) sign(ctx context.Context, ring string) (kid string, err error) {
	res, err := c.signing.SignToken(ctx, &pb.SignTokenRequest{Ring: ring, Claims: []byte(`{"sub":"crash","aud":"a"}`)})
	return res.GetKid(), err
}

// prepare makes the rings.
func (l *load) prepare(s *devserver.Server) error {
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for i := range rings {
		id := fmt.Sprintf("crash-%d", i)
		_, err := c.admin.CreateRing(context.Background(), &pb.CreateRingRequest{Parent: "issuers/demo", RingId: id, Ring: &pb.Ring{
			Typ: "at+jwt", Usage: pb.Ring_USAGE_TOKENS, Algorithm: []string{"ES256", "EdDSA"}[i%2], Backend: "software",
			MinProtection: pb.Protection_PROTECTION_SOFTWARE, Audiences: &pb.Audiences{Any: true},
			DefaultTtl: durationpb.New(time.Minute), MaxTtl: durationpb.New(time.Minute),
			Rotation: &pb.Rotation{Lifetime: durationpb.New(time.Hour), Propagation: durationpb.New(5 * time.Second), Skew: durationpb.New(time.Second)},
		}})
		if err != nil {
			return err
		}
		l.rings = append(l.rings, "demo/"+id)
	}
	return l.recovered(s)
}

// runUntilKilled keeps everybody busy, and kills the server at a random moment.
func (l *load) runUntilKilled(s *devserver.Server) error {
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	busy := func(do func(*mrand.Rand)) {
		random := mrand.New(mrand.NewPCG(l.random.Uint64(), 3))
		work.Go(func() {
			for ctx.Err() == nil {
				do(random)
			}
		})
	}
	for range 8 {
		busy(func(r *mrand.Rand) { l.signOne(ctx, c, r) })
	}
	busy(func(r *mrand.Rand) { l.rotateOne(ctx, c, r) })
	busy(func(r *mrand.Rand) { l.revokeOne(ctx, c, r) })
	busy(func(r *mrand.Rand) { l.retainOne(ctx, c, r) })
	time.Sleep(50*time.Millisecond + time.Duration(l.random.Int64N(int64(1950*time.Millisecond))))
	s.Kill()
	cancel()
	work.Wait()
	return nil
}

func (l *load) signOne(ctx context.Context, c *client, r *mrand.Rand) {
	l.mu.Lock()
	dead := make(map[string]string, len(l.revoked)) // before the call begins: what is confirmed now must not sign it
	for kid, operation := range l.revoked {
		dead[kid] = operation
	}
	l.mu.Unlock()
	kid, err := c.sign(ctx, l.rings[r.IntN(rings)])
	if err != nil {
		return
	}
	l.signed.Add(1)
	if operation, ok := dead[kid]; ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.undead++
		fmt.Printf("note:    key %s signed after operation %s had revoked it\n", kid, operation)
	}
}

func (l *load) rotateOne(ctx context.Context, c *client, r *mrand.Rand) {
	_, err := c.admin.RotateRing(ctx, &pb.RotateRingRequest{
		Name: l.rings[r.IntN(rings)], PropagatedFor: durationpb.New(0), Reason: "crash test", RequestId: uuid(),
	})
	if err == nil {
		l.rotated.Add(1)
	}
	time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
}

// revokeOne revokes a ring or one of its keys, and remembers the keys that it was told are dead.
func (l *load) revokeOne(ctx context.Context, c *client, r *mrand.Rand) {
	ring := l.rings[r.IntN(rings)]
	listed, err := c.admin.ListKeys(ctx, &pb.ListKeysRequest{Parent: ring})
	if err != nil || len(listed.GetKeys()) == 0 {
		return
	}
	doomed := listed.GetKeys()
	scope := &pb.Scope{Scope: &pb.Scope_Ring{Ring: ring}}
	if r.IntN(2) == 0 {
		doomed = doomed[len(doomed)-1:]
		scope = &pb.Scope{Scope: &pb.Scope_Key{Key: doomed[0].GetName()}}
	}
	op, err := c.revocation.Revoke(ctx, &pb.RevokeRequest{Scope: scope, Reason: "crash test", CutFirst: true, RequestId: uuid()})
	if err != nil {
		return
	}
	l.mu.Lock()
	for _, k := range doomed {
		if k.GetKid() != "" {
			l.revoked[k.GetKid()] = op.GetName()
		}
	}
	l.mu.Unlock()
	l.cuts.Add(1)
	time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
}

func (l *load) retainOne(ctx context.Context, c *client, r *mrand.Rand) {
	listed, err := c.admin.ListKeys(ctx, &pb.ListKeysRequest{Parent: l.rings[r.IntN(rings)]})
	if err != nil || len(listed.GetKeys()) == 0 {
		return
	}
	name := listed.GetKeys()[r.IntN(len(listed.GetKeys()))].GetName()
	if _, err := c.admin.RetainKey(ctx, &pb.RetainKeyRequest{Name: name}); err == nil {
		l.retained.Add(1)
		time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
		c.admin.ReleaseKey(ctx, &pb.ReleaseKeyRequest{Name: name})
	}
	time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
}

// check counts a key that does something although it was confirmed to be revoked.
func (l *load) check(does, kid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if operation, dead := l.revoked[kid]; dead {
		l.undead++
		fmt.Printf("note:    key %s, revoked by %s, %s\n", kid, operation, does)
	}
}

// publishedKids reads the served JWK Set.
func publishedKids(s *devserver.Server) ([]string, error) {
	res, err := http.Get(s.HTTP + "/demo/jwks.json")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var set struct{ Keys []struct{ Kid string } }
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		return nil, err
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.Kid)
	}
	if len(kids) < rings {
		return nil, fmt.Errorf("only %d keys are published for %d rings that sign", len(kids), rings)
	}
	return kids, nil
}

// uuid is a random UUID, RFC 9562 section 5.4.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
