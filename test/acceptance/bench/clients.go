package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/test/acceptance/internal/devserver"
)

// connections is how many the callers share: a busy service has a few.
const connections = 4

// clients are connections that take turns.
type clients struct {
	conns   []*grpc.ClientConn
	signing []pb.SigningServiceClient
	next    atomic.Uint32
}

func newClients(s *devserver.Server) (*clients, error) {
	c := &clients{}
	for range connections {
		conn, err := s.Dial()
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns, c.signing = append(c.conns, conn), append(c.signing, pb.NewSigningServiceClient(conn))
	}
	return c, nil
}

func (c *clients) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *clients) one() pb.SigningServiceClient {
	return c.signing[c.next.Add(1)%connections]
}

// ring makes a ring for alg and waits until it signs.
func (c *clients) ring(alg string) (string, error) {
	id := "bench-" + strings.ToLower(alg)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := devserver.CreateRing(ctx, c.conns[0], id, alg, nil); err != nil {
		return "", err
	}
	ring := "demo/" + id
	return ring, devserver.Eventually(ctx, 20*time.Second, func() error { return c.signToken(ctx, ring) })
}

func (c *clients) signToken(ctx context.Context, ring string) error {
	_, err := c.one().SignToken(ctx, &pb.SignTokenRequest{Ring: ring, Claims: []byte(claims)})
	return err
}

func (c *clients) signBatch(ctx context.Context, ring string) error {
	req := &pb.BatchSignTokensRequest{}
	for range batchSize {
		req.Requests = append(req.Requests, &pb.SignTokenRequest{Ring: ring, Claims: []byte(claims)})
	}
	res, err := c.one().BatchSignTokens(ctx, req)
	if err != nil {
		return err
	}
	for _, item := range res.GetResults() {
		if item.GetToken() == nil {
			return fmt.Errorf("an item failed: %v", item.GetError())
		}
	}
	return nil
}

// newBare returns a function that hashes as many bytes as a token has, and signs with the standard library as its
// documentation shows: randomised ECDSA in ASN.1 form.
func newBare(alg string) (func(context.Context) (int, error), error) {
	input := []byte(strings.Repeat("x", 420))
	var sign func() error
	switch alg {
	case "ES256":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		sign = func() error {
			digest := sha256.Sum256(input)
			_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
			return err
		}
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		sign = func() error { ed25519.Sign(key, input); return nil }
	case "RS256":
		key, err := rsa.GenerateKey(rand.Reader, 3072)
		if err != nil {
			return nil, err
		}
		sign = func() error {
			digest := sha256.Sum256(input)
			_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
			return err
		}
	default:
		return nil, fmt.Errorf("no bare signing for %s", alg)
	}
	return func(context.Context) (int, error) { return 1, sign() }, nil
}
