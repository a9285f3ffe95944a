package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// maxBatch and maxBatchBytes bound one BatchSignTokens; batchWorkers is how many of its items are with a backend at once.
const (
	maxBatch      = 256
	maxBatchBytes = 1 << 20
	batchWorkers  = 16
)

// signing is intaglio.v1.SigningService.
type signing struct {
	pb.UnsafeSigningServiceServer
	*Server
}

// SignToken signs one token.
func (s *signing) SignToken(ctx context.Context, req *pb.SignTokenRequest) (*pb.SignTokenResponse, error) {
	began := time.Now()
	res, err := s.signOne(ctx, req)
	s.metrics.signed(time.Since(began), err)
	return res, err
}

// signOne is the straight line from a caller to a token.
func (s *signing) signOne(ctx context.Context, req *pb.SignTokenRequest) (*pb.SignTokenResponse, error) {
	line, err := s.ringFor(ctx, keyring.Sign, req.GetRing())
	if err != nil {
		return nil, err
	}
	v, err := s.vet(line, req)
	if err != nil {
		return nil, err
	}
	t, err := s.sign(ctx, line, v)
	if err != nil {
		return nil, err
	}
	return &pb.SignTokenResponse{
		Token: t.compact, Kid: t.kid, Jti: t.jti,
		IssueTime: timestamppb.New(t.issued), ExpireTime: timestamppb.New(t.expires),
	}, nil
}

// BatchSignTokens signs each item by itself: one bad item never costs another.
func (s *signing) BatchSignTokens(ctx context.Context, req *pb.BatchSignTokensRequest) (*pb.BatchSignTokensResponse, error) {
	if _, err := principal(ctx); err != nil {
		return nil, err
	}
	items := req.GetRequests()
	if n := len(items); n == 0 || n > maxBatch {
		return nil, failField(pb.Reason_REASON_BATCH_SIZE_INVALID, "requests", "a batch has 1 to %d requests, not %d", maxBatch, n)
	}
	size := 0
	for _, item := range items {
		size += len(item.GetClaims())
	}
	if size > maxBatchBytes {
		return nil, failField(pb.Reason_REASON_BATCH_SIZE_INVALID, "requests", "the claims of a batch are at most %d bytes together, not %d", maxBatchBytes, size)
	}
	results := make([]*pb.BatchSignTokensResponse_Result, len(items))
	s.each(len(items), func(i int) { results[i] = s.batchItem(ctx, items[i]) })
	if err := ctx.Err(); err != nil {
		return nil, err // nobody waits for the rest
	}
	return &pb.BatchSignTokensResponse{Results: results}, nil
}

func (s *signing) batchItem(ctx context.Context, req *pb.SignTokenRequest) *pb.BatchSignTokensResponse_Result {
	began := time.Now()
	res, err := s.signItem(ctx, req)
	s.metrics.signed(time.Since(began), err)
	if err != nil {
		st := asFault(s.report("BatchSignTokens item", err)).status()
		return &pb.BatchSignTokensResponse_Result{Result: &pb.BatchSignTokensResponse_Result_Error{Error: st.Proto()}}
	}
	return &pb.BatchSignTokensResponse_Result{Result: &pb.BatchSignTokensResponse_Result_Token{Token: res}}
}

// signItem is signOne in a goroutine that nobody else guards.
func (s *signing) signItem(ctx context.Context, req *pb.SignTokenRequest) (res *pb.SignTokenResponse, err error) {
	defer s.recovering("BatchSignTokens item", &err)
	return s.signOne(ctx, req)
}

// each calls do for 0 to n-1, at most batchWorkers at a time.
func (s *signing) each(n int, do func(int)) {
	var work sync.WaitGroup
	for w := range min(n, batchWorkers) {
		work.Go(func() {
			for i := w; i < n; i += batchWorkers {
				do(i)
			}
		})
	}
	work.Wait()
}

// GetSigner tells what the ring's tokens look like.
func (s *signing) GetSigner(ctx context.Context, req *pb.GetSignerRequest) (*pb.Signer, error) {
	line, err := s.ringFor(ctx, keyring.Sign, req.GetRing())
	if err != nil {
		return nil, err
	}
	if line.Signer == nil {
		return nil, noSigner(line.Ring.Name)
	}
	r := line.Ring
	return &pb.Signer{
		Ring: r.Name, Algorithm: line.Signer.Algorithm, Typ: line.Signer.Scope.Typ,
		DefaultTtl: durationpb.New(r.DefaultTTL), MaxTtl: durationpb.New(min(r.Scope.MaxTTL, line.Signer.Scope.MaxTTL)),
		Audiences: audiencesToProto(r.Scope.Audiences),
	}, nil
}

// ringFor admits the caller to a ring and returns it. An unknown ring is told only to those who may do verb on its name.
func (s *Server) ringFor(ctx context.Context, verb keyring.Verb, name string) (*keyring.Line, error) {
	name, err := ringIn("ring", name)
	if err != nil {
		return nil, err
	}
	snap, _, err := s.admit(ctx, verb, name)
	if err != nil {
		return nil, err
	}
	return lineOf(snap, name)
}
