// Package devserver gives acceptance programs the real thing: the built binary in dev mode, in a directory of its own,
// spoken to over mutual TLS, killed by its process id.
package devserver

import (
	"context"
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
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"intaglio.example/test/acceptance/internal/accept"
)

// A Server is one `intaglio dev` process and its directory. Make one with Start. It is not safe for concurrent use.
type Server struct {
	Binary, Dir string
	GRPC, HTTP  string // addresses: host:port, and a base URL

	process *exec.Cmd
	log     *tail
}

// Build builds the binary as users get it, and returns its path.
func Build(r *accept.Report) (string, error) {
	root, err := accept.Root()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("make", "-C", root, "build")
	_, err = r.Exec(cmd)
	return filepath.Join(root, "bin", "intaglio"), err
}

// Start makes a new server in dir, on ports that are free. Call Kill or Stop in the end.
func Start(binary, dir string) (*Server, error) {
	s := &Server{Binary: binary, Dir: dir}
	return s, s.Run()
}

// Run starts the server's process, again after Kill or Stop, and waits until it serves.
func (s *Server) Run() error {
	endpoints := filepath.Join(s.Dir, "endpoints.json")
	if err := os.Remove(endpoints); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.log = &tail{}
	s.process = exec.Command(s.Binary, "dev", "--dir", s.Dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
	s.process.Stdout, s.process.Stderr = s.log, s.log
	if err := s.process.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func(p *exec.Cmd) { exited <- p.Wait() }(s.process)
	deadline := time.After(30 * time.Second)
	for {
		if b, err := os.ReadFile(endpoints); err == nil {
			var at struct{ GRPC, HTTP string }
			if err := json.Unmarshal(b, &at); err != nil {
				return err
			}
			s.GRPC, s.HTTP = at.GRPC, at.HTTP
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("the server ended before it served: %v\n%s", err, s.log)
		case <-deadline:
			s.process.Process.Kill()
			return fmt.Errorf("the server did not serve within 30 s\n%s", s.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill is kill -9.
func (s *Server) Kill() { s.signal(os.Kill) }

// Stop asks the server to end, and waits.
func (s *Server) Stop() { s.signal(os.Interrupt) }

func (s *Server) signal(sig os.Signal) {
	s.process.Process.Signal(sig)
	for s.process.Process.Signal(syscall.Signal(0)) == nil { // until the goroutine in Run has collected it
		time.Sleep(time.Millisecond)
	}
}

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
