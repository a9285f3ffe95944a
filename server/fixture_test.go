package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/backends/software"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
	"intaglio.example/rotation"
)

// The callers of every world. What each may do is in their grants, below.
const (
	root     = "spiffe://test/root"      // everything, on everything
	app      = "spiffe://test/app"       // sign and verify, on demo/*
	operator = "spiffe://test/operator"  // operate, on demo/access
	keeper   = "dns:keeper.test"         // admin, on demo/access
	respond  = "spiffe://test/responder" // respond, on demo/*
	stranger = "spiffe://test/stranger"  // a certificate and nothing else
	nameless = ""                        // a certificate that names nobody
)

const (
	demo = "demo/access"
	aud  = "https://api.demo.test"
)

// A world is a real server, with its rotator, over real mutual TLS on the loopback. Its store is in memory, its clock
// can be set forward.
type world struct {
	t       testing.TB
	store   *storetest.Memory
	live    *keyring.Live
	soft    *gated // the backend of demo/access
	vault   *gated // one of higher standing
	rotator *rotation.Rotator
	server  *Server
	log     *lockedBuffer
	addr    string
	ca      *authority

	offset atomic.Int64                       // of the clock
	hook   atomic.Pointer[func(string) error] // before a call to the store
	after  atomic.Pointer[func(string) error] // after one that took effect
	halt   context.CancelFunc                 // stops rotator and refreshing
	halted sync.WaitGroup
}

// newWorld returns a world with the issuer demo and the ring demo/access, which signs.
func newWorld(t testing.TB) *world {
	w := bareWorld(t)
	c := w.as(root)
	if _, err := c.CreateIssuer(t.Context(), &pb.CreateIssuerRequest{IssuerId: "demo", Issuer: &pb.Issuer{Uri: "https://demo.test"}}); err != nil {
		t.Fatal(err)
	}
	w.makeRing("access", demoRing())
	return w
}

func demoRing() *pb.Ring {
	return &pb.Ring{
		Usage: pb.Ring_USAGE_TOKENS, Backend: "soft",
		Audiences: &pb.Audiences{Exact: []string{aud}, Prefixes: []string{"https://svc.demo.test/"}},
		MaxTtl:    durationpb.New(10 * time.Minute), DefaultTtl: durationpb.New(5 * time.Minute),
		Rotation: &pb.Rotation{Lifetime: durationpb.New(2 * time.Hour), Propagation: durationpb.New(10 * time.Minute), Skew: durationpb.New(time.Minute)},
	}
}

// makeRing makes a ring of demo and waits until a key of it is active.
func (w *world) makeRing(id string, r *pb.Ring) {
	w.t.Helper()
	if _, err := w.as(root).CreateRing(w.t.Context(), &pb.CreateRingRequest{Parent: "demo", RingId: id, Ring: r}); err != nil {
		w.t.Fatal(err)
	}
	w.await("an active key in "+id, func() bool { k := w.signer("demo/" + id); return k != nil && k.State == keyring.Active })
}

// bareWorld returns a world with grants and nothing else.
func bareWorld(t testing.TB) *world {
	w := &world{t: t, log: &lockedBuffer{}, ca: newAuthority(t)}
	w.store = storetest.NewMemory("6f1d0c6a5e2b9a01", keyring.DefaultTiming())
	w.store.Before = func(op string) error { return ask(&w.hook, op) }
	w.store.After = func(op string) error { return ask(&w.after, op) }
	w.seed()
	start, err := w.store.Changes(t.Context(), keyring.Position{})
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := keyring.CreateAnchor(filepath.Join(t.TempDir(), "anchor"), start.Store, start.Position)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.live = keyring.NewLive(w.store, anchor, log, w.now)
	w.soft, w.vault = newGated(t, keyring.Software), newGated(t, keyring.Remote)
	set, err := backends.NewSet(map[string]backends.Backend{"soft": w.soft, "vault": w.vault})
	if err != nil {
		t.Fatal(err)
	}
	w.rotator = rotation.New(rotation.Config{
		Store: w.store, Live: w.live, Backends: set, Policy: rotation.DefaultPolicy(start.Timing), Log: log, Now: w.now, Tick: 10 * time.Millisecond,
	})
	w.server = New(Config{Store: w.store, Live: w.live, Backends: set, Rotator: w.rotator, Log: log, Now: w.now, Reflection: true})
	w.refresh()
	w.run()
	return w
}

func ask(hook *atomic.Pointer[func(string) error], op string) error {
	if f := hook.Load(); f != nil {
		return (*f)(op)
	}
	return nil
}

// seed writes the grants.
func (w *world) seed() {
	grant := func(name, principal string, rings []string, verbs ...keyring.Verb) keyring.Grant {
		return keyring.Grant{Name: name, Principal: principal, Verbs: verbs, Rings: rings, Created: w.now()}
	}
	_, err := w.store.Swap(w.t.Context(), keyring.Position{}, keyring.Edit{Grants: []keyring.Grant{
		grant("root", root, []string{"*"}, keyring.Sign, keyring.Verify, keyring.Operate, keyring.Respond, keyring.Admin),
		grant("app", app, []string{"demo/*"}, keyring.Sign, keyring.Verify),
		grant("operator", operator, []string{demo}, keyring.Operate),
		grant("keeper", keeper, []string{demo}, keyring.Admin),
		grant("responder", respond, []string{"demo/*"}, keyring.Respond),
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// run starts everything that runs by itself.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	w.halt = cancel
	w.halted.Go(func() { w.live.Run(ctx, 20*time.Millisecond) })
	w.halted.Go(func() { w.rotator.Run(ctx) })
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = lis.Addr().String()
	g := w.server.GRPC(w.ca.serverConfig(w.t))
	go g.Serve(lis)
	w.t.Cleanup(func() {
		g.Stop()
		w.stop()
	})
}

// stop ends the rotator and the refreshing of snapshots, as if both had died; the server goes on.
func (w *world) stop() {
	w.halt()
	w.halted.Wait()
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

// forward sets the clock forward, and refreshes the snapshot that this makes stale.
func (w *world) forward(d time.Duration) {
	w.t.Helper()
	w.offset.Add(int64(d))
	w.refresh()
}

func (w *world) refresh() {
	w.t.Helper()
	if err := w.live.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// storeFails has calls of the given operations fail, before they take effect, until restored.
func (w *world) storeFails(err error, ops ...string) (restore func()) {
	return hooked(&w.hook, err, ops)
}

// storeLies has calls of the given operations fail after they took effect.
func (w *world) storeLies(err error, ops ...string) (restore func()) {
	return hooked(&w.after, err, ops)
}

func hooked(hook *atomic.Pointer[func(string) error], err error, ops []string) func() {
	f := func(op string) error {
		if slices.Contains(ops, op) {
			return err
		}
		return nil
	}
	hook.Store(&f)
	return func() { hook.Store(nil) }
}

func (w *world) line(ring string) (*keyring.Snapshot, *keyring.Line) {
	w.t.Helper()
	snap, err := w.live.Current()
	if err != nil {
		w.t.Fatal(err)
	}
	line, ok := snap.Line(ring)
	if !ok {
		w.t.Fatalf("no ring %s", ring)
	}
	return snap, line
}

func (w *world) signer(ring string) *keyring.Key {
	w.t.Helper()
	_, line := w.line(ring)
	return line.Signer
}

// activate has a ring's successor sign now.
func (w *world) activate(ring string) error {
	atOnce := time.Duration(0)
	_, err := w.rotator.Rotate(w.t.Context(), ring, &atOnce)
	return err
}

// stage makes and publishes a successor of the ring's signer.
func (w *world) stage(ring string) *keyring.Key {
	w.t.Helper()
	if _, err := w.rotator.Rotate(w.t.Context(), ring, nil); err != nil {
		w.t.Fatal(err)
	}
	w.await("a successor in "+ring, func() bool { // when the executor mints what Rotate reserved
		_, line := w.line(ring)
		return slices.ContainsFunc(line.Ring.Keys, func(k keyring.Key) bool { return k.State == keyring.Staged })
	})
	_, line := w.line(ring)
	for i := range line.Ring.Keys {
		if line.Ring.Keys[i].State == keyring.Staged {
			return &line.Ring.Keys[i]
		}
	}
	w.t.Fatalf("no successor in %s", ring)
	return nil
}

func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s\n%s", what, w.log)
		}
	}
}

// client is every service, as one caller.
type client struct {
	pb.SigningServiceClient
	pb.KeySetServiceClient
	pb.AdminServiceClient
	pb.RevocationServiceClient
	healthpb.HealthClient
}

// as returns a client with the certificate of principal.
func (w *world) as(principal string) client {
	w.t.Helper()
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(credentials.NewTLS(w.ca.clientConfig(w.t, principal))))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return clientOn(conn)
}

func clientOn(conn *grpc.ClientConn) client {
	return client{
		pb.NewSigningServiceClient(conn), pb.NewKeySetServiceClient(conn), pb.NewAdminServiceClient(conn),
		pb.NewRevocationServiceClient(conn), healthpb.NewHealthClient(conn),
	}
}

// A gated backend is a software backend of the given standing, whose calls can be met on their way.
type gated struct {
	*software.Backend
	standing keyring.Protection
	signing  atomic.Pointer[func(ref string, next func() ([]byte, error)) ([]byte, error)]
	down     atomic.Bool
}

func newGated(t testing.TB, p keyring.Protection) *gated {
	b, err := software.New(t.Context(), "test", &backendtest.Storage{}, software.NewKEK(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return &gated{Backend: b, standing: p}
}

func (g *gated) Protection() keyring.Protection { return g.standing }

func (g *gated) Mint(ctx context.Context, label string, alg jws.Alg) (backends.Minted, error) {
	if g.down.Load() {
		return backends.Minted{}, backends.ErrUnavailable
	}
	m, err := g.Backend.Mint(ctx, label, alg)
	m.Protection = g.standing
	return m, err
}

func (g *gated) Sign(ctx context.Context, ref string, alg jws.Alg, input []byte) ([]byte, error) {
	if g.down.Load() {
		return nil, backends.ErrUnavailable
	}
	next := func() ([]byte, error) { return g.Backend.Sign(ctx, ref, alg, input) }
	if meet := g.signing.Load(); meet != nil {
		return (*meet)(ref, next)
	}
	return next()
}

// meet has f called instead of every signature; next makes it.
func (g *gated) meet(f func(ref string, next func() ([]byte, error)) ([]byte, error)) {
	g.signing.Store(&f)
}

// lockedBuffer is a log that several goroutines write and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// refused fails the test unless err is the refusal that reason stands for, code and all, and blames field.
func refused(t testing.TB, err error, reason pb.Reason, field string) {
	t.Helper()
	st := status.Convert(err)
	got, blamed := detailsOf(st)
	if got != reason.String() || blamed != field {
		t.Errorf("got %s %q (%s, field %q), want %s, field %q", st.Code(), st.Message(), got, blamed, reason, field)
	}
	if st.Code() != codeOf[reason] {
		t.Errorf("%s came as %s, want %s", reason, st.Code(), codeOf[reason])
	}
}

func detailsOf(st *status.Status) (reason, field string) {
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				reason = "REASON_" + d.GetReason()
			}
		case *errdetails.BadRequest:
			field = d.GetFieldViolations()[0].GetField()
		}
	}
	return reason, field
}

// is fails the test unless got is want.
func is[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// no fails the test if there is an error.
func no(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		st := status.Convert(err)
		reason, field := detailsOf(st)
		if st.Code() == codes.Unknown {
			t.Fatal(err)
		}
		t.Fatalf("%s %s (%s, %s)", st.Code(), st.Message(), reason, field)
	}
}

// newID returns a request_id.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	const hex = "0123456789abcdef"
	var out []byte
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out = append(out, '-')
		}
		out = append(out, hex[c>>4], hex[c&15])
	}
	return string(out)
}

// itemError is the error of one item of a batch.
func itemError(r *pb.BatchSignTokensResponse_Result) error {
	if r.GetError() == nil {
		return nil
	}
	return status.FromProto(r.GetError()).Err()
}
