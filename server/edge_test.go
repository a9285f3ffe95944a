package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc"

	pb "intaglio.example/api/intagliov1"
)

// TestPanicsStayWhereTheyAre: a panic costs one call, one item of a batch or one stream, and is logged.
func TestPanicsStayWhereTheyAre(t *testing.T) {
	w := newWorld(t)
	w.makeRing("other", demoRing())
	bad := w.signer(demo).Ref
	w.soft.meet(func(ref string, next func() ([]byte, error)) ([]byte, error) {
		if ref == bad {
			panic("hunter2")
		}
		return next()
	})
	one := &pb.SignTokenRequest{Ring: demo, Claims: claims()}
	_, err := w.as(app).SignToken(t.Context(), one)
	refused(t, err, pb.Reason_REASON_INTERNAL, "")
	res, err := w.as(app).BatchSignTokens(t.Context(), &pb.BatchSignTokensRequest{Requests: []*pb.SignTokenRequest{one, {Ring: "demo/other", Claims: claims()}}})
	no(t, err)
	refused(t, itemError(res.GetResults()[0]), pb.Reason_REASON_INTERNAL, "")
	is(t, "the other item has its token", res.GetResults()[1].GetToken() != nil, true)

	err = w.server.streamEdge(nil, nil, &grpc.StreamServerInfo{FullMethod: "/test/Stream"}, func(any, grpc.ServerStream) error { panic("hunter2") })
	refused(t, err, pb.Reason_REASON_INTERNAL, "")
	is(t, "panics in the log", strings.Count(w.log.String(), "a handler panicked"), 3)
}
