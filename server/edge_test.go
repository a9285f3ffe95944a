package server

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

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

// TestNamelessAreMetAtTheDoor: a caller without a name is refused before the body of the call has come, whatever the call.
func TestNamelessAreMetAtTheDoor(t *testing.T) {
	w := newWorld(t)
	c := w.as(nameless)
	_, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{})
	refused(t, err, pb.Reason_REASON_CALLER_UNKNOWN, "")
	_, err = w.as(stranger).Check(t.Context(), &healthpb.HealthCheckRequest{})
	no(t, err)

	// A body larger than any message would be refused as such, if anybody looked at it.
	_, err = c.SignToken(t.Context(), &pb.SignTokenRequest{Ring: demo, Claims: make([]byte, 2*maxMessage)})
	refused(t, err, pb.Reason_REASON_CALLER_UNKNOWN, "")
}

// TestBodiesComeInGoodTime: a call whose body has not come in time ends; one whose body has come is left alone.
func TestBodiesComeInGoodTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		known := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: callerInfo{principal: app, expires: time.Now().Add(time.Hour)}})
		begin := func() context.Context {
			ctx, err := s.greet(known, &tap.Info{})
			no(t, err)
			return ctx
		}
		slow, done := begin(), begin()
		_, err := s.edge(done, nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { return nil, nil })
		no(t, err)
		time.Sleep(receiveTime - time.Millisecond)
		no(t, slow.Err())
		time.Sleep(2 * time.Millisecond)
		is(t, "the slow one has ended", slow.Err() != nil, true)
		is(t, "the other has not", done.Err() == nil, true)
	})
}

// TestUnknownFieldsAreRefused: a field that this server does not know could have been meant to forbid something.
func TestUnknownFieldsAreRefused(t *testing.T) {
	w := newWorld(t)
	unknown := func(m proto.Message) { m.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 1}) } // field 2047, a varint
	deep := func() *pb.SignTokenRequest {
		ttl := durationpb.New(time.Minute)
		unknown(ttl)
		return &pb.SignTokenRequest{Ring: demo, Claims: claims(), Expiration: &pb.SignTokenRequest_Ttl{Ttl: ttl}}
	}
	shallow := &pb.SignTokenRequest{Ring: demo, Claims: claims()}
	unknown(shallow)
	check := func(err error, where string) {
		t.Helper()
		refused(t, err, pb.Reason_REASON_ARGUMENT_INVALID, "")
		if err != nil && !strings.HasSuffix(err.Error(), "in "+where) {
			t.Errorf("it does not name %s: %v", where, err)
		}
	}
	c := w.as(app)
	_, err := c.SignToken(t.Context(), shallow)
	check(err, "intaglio.v1.SignTokenRequest")
	_, err = c.SignToken(t.Context(), deep())
	check(err, "google.protobuf.Duration")
	_, err = c.BatchSignTokens(t.Context(), &pb.BatchSignTokensRequest{Requests: []*pb.SignTokenRequest{{}, deep()}})
	check(err, "google.protobuf.Duration")
}

func BenchmarkUnknownIn(b *testing.B) {
	req := (&pb.SignTokenRequest{Ring: demo, Claims: claims(), Expiration: &pb.SignTokenRequest_Ttl{Ttl: durationpb.New(time.Minute)}}).ProtoReflect()
	b.ReportAllocs()
	for b.Loop() {
		if unknownIn(req) != "" {
			b.Fatal("an unknown field")
		}
	}
}
