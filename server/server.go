package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/backends"
	"intaglio.example/keyring"
	"intaglio.example/rotation"
)

// Config is what a Server needs. Everything but Now and Reflection is required.
type Config struct {
	Store      keyring.Store
	Live       *keyring.Live
	Backends   *backends.Set
	Rotator    *rotation.Rotator
	Log        *slog.Logger
	Now        func() time.Time // time.Now when nil
	Reflection bool             // let clients ask for the API's description
}

// A Server answers calls. All methods are safe for concurrent use.
type Server struct {
	store    keyring.Store
	live     *keyring.Live
	backends *backends.Set
	rotator  *rotation.Rotator
	log      *slog.Logger
	now      func() time.Time
	start    time.Time            // by the wall clock
	elapsed  func() time.Duration // since start, by the monotonic clock

	reflection bool
	public     publicKeys
	sets       keySets
	metrics    *metrics
	draining   atomic.Bool
}

// New returns a server that is ready to be mounted.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		store: c.Store, live: c.Live, backends: c.Backends, rotator: c.Rotator,
		log: c.Log, now: c.Now, reflection: c.Reflection,
	}
	born := c.Now()
	s.start, s.elapsed = born.Round(0), func() time.Duration { return c.Now().Sub(born) }
	s.metrics = newMetrics(s)
	return s
}

// Limits of one gRPC connection. A message holds at most a batch of claims; the rest keeps idle or hostile clients cheap.
const (
	maxMessage     = 1<<20 + 64<<10
	maxHeaders     = 16 << 10
	maxStreams     = 256
	minClientPings = 10 * time.Second

	// A connection is renewed now and then, so that a certificate that was renewed or taken away is looked at again.
	maxConnectionAge = time.Hour
	ageGrace         = time.Minute

	// A call needs some 10 KiB of stack to sign. Goroutines that stay, with stacks that have grown, save a tenth of the
	// time of a token; calls beyond them get goroutines of their own.
	streamWorkers = 32
)

// GRPC returns a gRPC server with every service registered, that speaks mutual TLS by config, which must ask for and verify
// client certificates.
func (s *Server) GRPC(config *tls.Config) *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(newIdentifying(config)),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InTapHandle(s.greet),
		grpc.UnaryInterceptor(s.edge),
		grpc.StreamInterceptor(s.streamEdge),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: ageGrace}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minClientPings, PermitWithoutStream: true}),
	)
	pb.RegisterSigningServiceServer(g, &signing{Server: s})
	pb.RegisterKeySetServiceServer(g, &keySetService{Server: s})
	pb.RegisterAdminServiceServer(g, &admin{Server: s})
	pb.RegisterRevocationServiceServer(g, &revocation{Server: s})
	healthpb.RegisterHealthServer(g, &health{Server: s})
	if s.reflection {
		reflection.Register(g)
	}
	return g
}

// Drain makes the server say that it is not ready, so that callers go elsewhere. Calls are still answered.
func (s *Server) Drain() { s.draining.Store(true) }

// receiveTime is how long a request may take to arrive once it has begun.
const receiveTime = 10 * time.Second

// receiving is the key of the timer in a call's context that ends the call unless it is stopped.
type receiving struct{}

// greet meets a call when its headers have come, before anything of its body takes memory: who has no name goes no further, and
// who has one must send the body in good time. It runs on the connection's own goroutine and must never wait.
func (s *Server) greet(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, err := principal(ctx); err != nil {
		return ctx, s.report(info.FullMethodName, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	return context.WithValue(ctx, receiving{}, time.AfterFunc(receiveTime, cancel)), nil
}

// received says that the body of a call has come; a stream's comes in its own time.
func received(ctx context.Context) {
	if timer, ok := ctx.Value(receiving{}).(*time.Timer); ok {
		timer.Stop()
	}
}

// edge is where every unary call enters and leaves: a panic becomes an error, and every error one of the closed list.
func (s *Server) edge(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	defer func() {
		if err != nil {
			res, err = nil, s.report(info.FullMethod, err)
		}
	}()
	defer s.recovering(info.FullMethod, &err)
	received(ctx)
	if msg, ok := req.(proto.Message); ok {
		if name := unknownIn(msg.ProtoReflect()); name != "" {
			return nil, invalid("", "the request holds a field that this server does not know, in %s", name)
		}
	}
	return next(ctx, req)
}

// unknownIn names the first message, of m and those in it, that has a field we do not know; empty when none has.
func unknownIn(m protoreflect.Message) (name protoreflect.FullName) {
	if len(m.GetUnknown()) > 0 {
		return m.Descriptor().FullName()
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsMap() && field.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				name = unknownIn(v.Message())
				return name == ""
			})
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := 0; i < v.List().Len() && name == ""; i++ {
				name = unknownIn(v.List().Get(i).Message())
			}
		default:
			name = unknownIn(v.Message())
		}
		return name == ""
	})
	return name
}

// streamEdge is where every stream does: health's Watch, and reflection. Their errors are their own.
func (s *Server) streamEdge(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer s.recovering(info.FullMethod, &err)
	received(stream.Context())
	return next(srv, stream)
}

// recovering, deferred, turns a panic into the error of what it happened in, so that one bad call costs no other.
func (s *Server) recovering(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("a handler panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = fail(pb.Reason_REASON_INTERNAL, "the server failed while it answered; it has logged why")
	}
}
