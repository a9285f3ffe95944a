package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
	random *rand.Rand
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
	res, err := c.signing.SignToken(ctx, &pb.SignTokenRequest{Ring: ring, Claims: []byte(`{"sub":"crash","aud":"` + devserver.Audience + `"}`)})
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
		err := devserver.CreateRing(context.Background(), c.conn, id, []string{"ES256", "EdDSA"}[i%2], func(ring *pb.Ring) {
			ring.DefaultTtl, ring.MaxTtl = durationpb.New(time.Minute), durationpb.New(time.Minute) // short, so that keys are let go
			ring.Rotation.Lifetime = durationpb.New(time.Hour)
		})
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
	busy := func(do func(*rand.Rand)) {
		random := rand.New(rand.NewPCG(l.random.Uint64(), 3))
		work.Go(func() {
			for ctx.Err() == nil {
				do(random)
			}
		})
	}
	for range 8 {
		busy(func(r *rand.Rand) { l.signOne(ctx, c, r) })
	}
	busy(func(r *rand.Rand) { l.rotateOne(ctx, c, r) })
	busy(func(r *rand.Rand) { l.revokeOne(ctx, c, r) })
	busy(func(r *rand.Rand) { l.retainOne(ctx, c, r) })
	time.Sleep(50*time.Millisecond + time.Duration(l.random.Int64N(int64(1950*time.Millisecond))))
	s.Kill()
	cancel()
	work.Wait()
	return nil
}

func (l *load) signOne(ctx context.Context, c *client, r *rand.Rand) {
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

func (l *load) rotateOne(ctx context.Context, c *client, r *rand.Rand) {
	_, err := c.admin.RotateRing(ctx, &pb.RotateRingRequest{
		Name: l.rings[r.IntN(rings)], PropagatedFor: durationpb.New(0), Reason: "crash test", RequestId: devserver.RequestID(),
	})
	if err == nil {
		l.rotated.Add(1)
	}
	time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
}

// revokeOne revokes a ring or one of its keys, and remembers the keys that it was told are dead.
func (l *load) revokeOne(ctx context.Context, c *client, r *rand.Rand) {
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
	op, err := c.revocation.Revoke(ctx, &pb.RevokeRequest{Scope: scope, Reason: "crash test", CutFirst: true, RequestId: devserver.RequestID()})
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

func (l *load) retainOne(ctx context.Context, c *client, r *rand.Rand) {
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
