// Package devserver gives acceptance programs the real thing: the built binary in dev mode, in a directory of its own,
// spoken to over mutual TLS, killed by its process id.
package devserver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/test/acceptance/internal/accept"
)

// A Server is one `intaglio dev` process and its directory. Make one with Fresh. It is not safe for concurrent use.
type Server struct {
	Binary, Dir string
	GRPC, HTTP  string // addresses: host:port, and a base URL

	process *exec.Cmd     // the last one that started
	exited  chan struct{} // closed when it has ended and has been collected
	log     *tail
}

// Fresh builds the binary as users get it, and starts a new server in a new directory, on ports that are free. Call cleanup
// in the end: it kills the server, however often that was run again, and removes the directory.
func Fresh(r *accept.Report) (s *Server, cleanup func(), err error) {
	root, err := accept.Root()
	if err != nil {
		return nil, nil, err
	}
	if _, err := r.Exec(exec.Command("make", "-C", root, "build")); err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "intaglio-acceptance-")
	if err != nil {
		return nil, nil, fmt.Errorf("making a place for a server: %w", err)
	}
	s = &Server{Binary: filepath.Join(root, "bin", "intaglio"), Dir: dir}
	cleanup = func() {
		s.Kill()
		os.RemoveAll(dir)
	}
	if err := s.Run(); err != nil {
		cleanup()
		return nil, nil, err
	}
	return s, cleanup, nil
}

// Run starts the server's process, again after Kill or Stop, and waits until it serves. After an error there is no process.
func (s *Server) Run() error {
	endpoints := filepath.Join(s.Dir, "endpoints.json")
	if err := os.Remove(endpoints); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.log = &tail{}
	cmd := exec.Command(s.Binary, "dev", "--dir", s.Dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.log, s.log, boundToUs()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait()
	}()
	s.process, s.exited = cmd, exited
	if err := s.serves(endpoints); err != nil {
		s.Kill()
		return fmt.Errorf("%w\n%s", err, s.log)
	}
	return nil
}

// serves waits until the process has written where it serves.
func (s *Server) serves(endpoints string) error {
	deadline := time.After(30 * time.Second)
	for {
		if b, err := os.ReadFile(endpoints); err == nil {
			var at struct{ GRPC, HTTP string }
			if err := json.Unmarshal(b, &at); err != nil {
				return fmt.Errorf("reading %s: %w", endpoints, err)
			}
			s.GRPC, s.HTTP = at.GRPC, at.HTTP
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended before it served: %v", s.process.ProcessState)
		case <-deadline:
			return errors.New("the server did not serve within 30 s")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill is kill -9, and waits. A server that has ended it leaves alone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	<-s.exited
}

// Stop asks the server to end, and waits. One that does not end within 20 s is killed, and that is an error.
func (s *Server) Stop() error {
	s.process.Process.Signal(os.Interrupt)
	select {
	case <-s.exited:
		return nil
	case <-time.After(20 * time.Second):
		s.Kill()
		return fmt.Errorf("the server did not end within 20 s of an interrupt\n%s", s.log)
	}
}

// PID is the process id of the server.
func (s *Server) PID() int { return s.process.Process.Pid }

// Log is the last of what the server wrote.
func (s *Server) Log() string { return s.log.String() }

// CLI runs the binary as its administrator and returns what it wrote to stdout. An error carries stderr.
func (s *Server) CLI(stdin string, args ...string) (string, error) {
	cmd := exec.Command(s.Binary, args...)
	cmd.Env = append(os.Environ(), "INTAGLIO_CONTEXT="+filepath.Join(s.Dir, "context.yaml"))
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("intaglio %s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out), nil
}

// Dial connects as the administrator. Close the connection in the end.
func (s *Server) Dial() (*grpc.ClientConn, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, "context.yaml"))
	if err != nil {
		return nil, err
	}
	var c struct {
		ServerName string `yaml:"server_name"`
		CA         string `yaml:"ca"`
		Cert       string `yaml:"cert"`
		Key        string `yaml:"key"`
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(s.path(c.CA))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", c.CA)
	}
	pair, err := tls.LoadX509KeyPair(s.path(c.Cert), s.path(c.Key))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: c.ServerName, MinVersion: tls.VersionTLS13}
	return grpc.NewClient(s.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

func (s *Server) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.Dir, p)
}

// Audience and Typ are what the rings of CreateRing sign for.
const (
	Audience = "https://api.demo.test"
	Typ      = "at+jwt"
)

// CreateRing makes the ring demo/id of issuer demo: access tokens for Audience that live up to an hour, in the software
// backend, with a key that may be activated 5 s after it was published. edit, unless nil, changes the ring before it is sent.
func CreateRing(ctx context.Context, conn *grpc.ClientConn, id, alg string, edit func(*pb.Ring)) error {
	ring := &pb.Ring{
		Typ: Typ, Usage: pb.Ring_USAGE_TOKENS, Algorithm: alg, Backend: "software", MinProtection: pb.Protection_PROTECTION_SOFTWARE,
		Audiences:  &pb.Audiences{Exact: []string{Audience}},
		DefaultTtl: durationpb.New(time.Hour), MaxTtl: durationpb.New(time.Hour),
		Rotation: &pb.Rotation{Lifetime: durationpb.New(14 * 24 * time.Hour), Propagation: durationpb.New(5 * time.Second), Skew: durationpb.New(time.Second)},
	}
	if edit != nil {
		edit(ring)
	}
	_, err := pb.NewAdminServiceClient(conn).CreateRing(ctx, &pb.CreateRingRequest{Parent: "issuers/demo", RingId: id, Ring: ring})
	if err != nil {
		return fmt.Errorf("creating ring demo/%s for %s: %w", id, alg, err)
	}
	return nil
}

// RequestID is a new random UUID, version 4 (RFC 9562 section 5.4).
func RequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Eventually calls do every 20 ms until it returns nil, or gives up after limit with its last error.
func Eventually(ctx context.Context, limit time.Duration, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail keeps the last 16 KiB written to it.
type tail struct {
	mu   sync.Mutex
	last []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if over := len(t.last) - 16<<10; over > 0 {
		t.last = t.last[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
