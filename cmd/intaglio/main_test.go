package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/cmd/intaglio/internal/filepki"
)

// A console runs command lines of this program, each in a run of its own.
type console struct {
	t   *testing.T
	env map[string]string
}

func newConsole(t *testing.T) *console {
	return &console{t, map[string]string{"XDG_CONFIG_HOME": t.TempDir()}}
}

func (c *console) app(stdin string, stdout, stderr *buffer) *app {
	return &app{stdin: strings.NewReader(stdin), stdout: stdout, stderr: stderr, getenv: func(name string) string { return c.env[name] }}
}

// try runs a command line.
func (c *console) try(stdin string, args ...string) result {
	var stdout, stderr buffer
	ctx, cancel := context.WithTimeout(c.t.Context(), 15*time.Second) // a server that should have refused to start
	defer cancel()
	code := c.app(stdin, &stdout, &stderr).run(ctx, args)
	return result{stdout.String(), stderr.String(), code}
}

// must runs a command line that has to end with want, and returns what it printed.
func (c *console) must(want cli.Code, stdin string, args ...string) result {
	c.t.Helper()
	r := c.try(stdin, args...)
	if r.code != want {
		c.t.Fatalf("intaglio %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, want, r.stdout, r.stderr)
	}
	return r
}

// refused wants a command line to fail in three lines, with a reason.
func (c *console) refused(want cli.Code, reason, stdin string, args ...string) result {
	c.t.Helper()
	r := c.must(want, stdin, args...)
	errors := r.stderr
	if i := strings.LastIndex(errors, "["+reason+"]"); i < 0 || strings.Count(errors[i:], "\n") < 3 {
		c.t.Fatalf("intaglio %s: want [%s] in three lines, got\n%s", strings.Join(args, " "), reason, errors)
	}
	return r
}

// A buffer can be read while it is written to.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A process is a command that runs until it is stopped.
type process struct {
	t              *testing.T
	stdout, stderr buffer
	cancel         context.CancelFunc
	done           chan cli.Code
}

func (c *console) start(args ...string) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: c.t, cancel: cancel, done: make(chan cli.Code, 1)}
	go func() { p.done <- c.app("", &p.stdout, &p.stderr).run(ctx, args) }()
	c.t.Cleanup(cancel)
	return p
}

// stop ends it in good order.
func (p *process) stop() {
	p.t.Helper()
	p.cancel()
	if code := p.wait(); code != cli.Done {
		p.t.Fatalf("stopping: exit %d\n%s", code, p.stderr.String())
	}
}

func (p *process) wait() cli.Code {
	p.t.Helper()
	select {
	case code := <-p.done:
		return code
	case <-time.After(30 * time.Second):
		p.t.Fatalf("did not end\n%s%s", p.stdout.String(), p.stderr.String())
		return cli.Failed
	}
}

// startDev starts intaglio dev on dir and waits until it can be used.
func (c *console) startDev(dir string, more ...string) *process {
	c.t.Helper()
	endpoints := filepath.Join(dir, "endpoints.json")
	os.Remove(endpoints) // dev does the same, but later than we look
	p := c.start(append([]string{"dev", "--dir", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"}, more...)...)
	p.await(func() bool { _, err := os.Stat(endpoints); return err == nil })
	c.env["INTAGLIO_CONTEXT"] = filepath.Join(dir, "context.yaml")
	return p
}

func (p *process) await(ready func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		select {
		case code := <-p.done:
			p.t.Fatalf("ended with %d\n%s%s", code, p.stdout.String(), p.stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not ready\n%s%s", p.stdout.String(), p.stderr.String())
		}
	}
}

const claims = `{"sub":"alice","aud":"https://api.demo.test","n":9007199254740993}` + "\n"

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b.String()
}

// TestDev: a person's first hour, and a restart in the middle of it.
func TestDev(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	text, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
	if err != nil {
		t.Fatal(err)
	}
	var endpoints struct{ GRPC, HTTP string }
	if err := json.Unmarshal(text, &endpoints); err != nil {
		t.Fatalf("endpoints.json: %v: %s", err, text)
	}
	if _, port, err := net.SplitHostPort(endpoints.GRPC); err != nil || port == "0" {
		t.Errorf("grpc address %q", endpoints.GRPC)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state's folder: %v, %v", info.Mode(), err)
	}
	if code, body := get(t, endpoints.HTTP+"/demo/jwks.json"); code != http.StatusOK || !strings.Contains(body, `"ES256"`) {
		t.Errorf("key set: %d %s", code, body)
	}
	c.refused(cli.Conflict, "STATE_IN_USE", "", "dev", "--dir", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")

	token := c.must(cli.Done, claims, "sign", "demo/access", "--ttl", "10m").stdout
	shown := c.must(cli.Done, token, "verify", "--audience", "https://api.demo.test", "--explain").stdout
	for _, want := range []string{"valid    demo/access/1   ES256   at+jwt   expires in 9m 59s", "n 9007199254740993", "key window"} {
		if !strings.Contains(shown, want) && !strings.Contains(shown, strings.Replace(want, "9m 59s", "10m", 1)) {
			t.Errorf("verify does not say %q:\n%s", want, shown)
		}
	}
	if r := c.must(cli.Done, token, "verify"); !strings.Contains(r.stderr, "warning: no audience was asked for: https://api.demo.test") {
		t.Errorf("no warning without an audience: %s", r.stderr)
	}
	c.shape(t)
	keys := c.must(cli.Done, "", "key", "list", "demo/access", "-o", "json").stdout
	p.stop()
	c.refused(cli.Unavailable, cli.Unreachable, claims, "sign", "demo/access")

	p = c.startDev(dir)
	if again := c.must(cli.Done, "", "key", "list", "demo/access", "-o", "json").stdout; again != keys {
		t.Errorf("keys changed over a restart:\n%s\n%s", keys, again)
	}
	c.must(cli.Done, token, "verify", "--audience", "https://api.demo.test")
	c.must(cli.Done, claims, "sign", "demo/access")
	if got := c.must(cli.Done, "", "issuer", "list", "-o", "name").stdout; got != "demo\nshop\n" {
		t.Errorf("issuers after a restart: %q", got)
	}
	p.stop()
}

// shape makes an issuer, a ring and a grant, and uses them as another identity.
func (c *console) shape(t *testing.T) {
	t.Helper()
	app := filepath.Join(filepath.Dir(c.env["INTAGLIO_CONTEXT"]), "app-context.yaml")
	c.must(cli.Done, "", "issuer", "create", "shop", "--url", "https://shop.test")
	c.refused(cli.Conflict, "ALREADY_EXISTS", "", "issuer", "create", "shop", "--url", "https://other.test")
	c.refused(cli.NotFound, "ISSUER_NOT_FOUND", "", "issuer", "get", "absent")
	c.must(cli.Done, "", "ring", "create", "shop/id", "--typ", "JWT", "--any-audience", "--algorithm", "EdDSA", "--backend", "software-b",
		"--propagation", "5s", "--skew", "1s", "--label", "team=web")
	c.refused(cli.Denied, "GRANT_MISSING", claims, "--context", app, "sign", "shop/id")
	c.must(cli.Done, "", "grant", "create", "shop-app", "--principal", demoApp, "--verbs", "sign,verify", "--rings", "shop/*")
	c.must(cli.Done, claims, "--context", app, "sign", "demo/access")
	var token string
	for range 100 { // the ring's first key follows its making
		if r := c.try(claims, "--context", app, "sign", "shop/id"); r.code == cli.Done {
			token = r.stdout
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if out := c.must(cli.Done, token, "--context", app, "verify", "--issuer", "shop").stdout; !strings.Contains(out, "EdDSA   JWT") {
		t.Errorf("verify as the app: %s", out)
	}
	c.refused(cli.Failed, "KEY_UNKNOWN", token, "verify", "--issuer", "demo")
	c.must(cli.Done, "", "ring", "update", "shop/id", "--lifetime", "48h")
	var ring struct {
		Rotation struct{ Lifetime, Propagation, Skew string }
	}
	if err := json.Unmarshal([]byte(c.must(cli.Done, "", "ring", "get", "shop/id", "-o", "json").stdout), &ring); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ring.Rotation); got != "{172800s 5s 1s}" {
		t.Errorf("an update of the lifetime left %s", got)
	}
	c.must(cli.Done, "", "key", "retain", "shop/id/1")
	if out := c.must(cli.Done, "", "key", "get", "shop/id/1").stdout; !strings.Contains(out, "retained") {
		t.Errorf("a retained key: %s", out)
	}
	c.must(cli.Done, "", "key", "release", "shop/id/1")
	c.must(cli.Done, "", "grant", "delete", "shop-app")
	c.refused(cli.Denied, "GRANT_MISSING", claims, "--context", app, "sign", "shop/id")
	c.must(cli.Done, "", "plan")
}

// TestErrors: what goes wrong is said in three lines, with its own exit status.
func TestErrors(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	c.refused(cli.Usage, "CONTEXT_MISSING", claims, "sign", "demo/access")
	c.refused(cli.Usage, "CONTEXT_MISSING", claims, "sign", "demo/access", "--context", filepath.Join(dir, "absent.yaml"))
	p := c.startDev(dir)
	defer p.stop()
	for _, x := range []struct {
		code   cli.Code
		reason string
		stdin  string
		args   []string
	}{
		{cli.Usage, "USAGE", "", []string{"sgin"}},
		{cli.Usage, "USAGE", "", []string{"ring"}},
		{cli.Usage, "USAGE", "", []string{"ring", "explode"}},
		{cli.Usage, "USAGE", "", []string{"sign"}},
		{cli.Usage, "USAGE", "", []string{"sign", "demo/access", "--tll", "1m"}},
		{cli.Usage, "USAGE", "", []string{"sign", "demo/access", "-o", "xml"}},
		{cli.Usage, "USAGE", "", []string{"issuer", "create", "x"}},
		{cli.Usage, "USAGE", "", []string{"ring", "update", "demo/access"}},
		{cli.Usage, "USAGE", "", []string{"rotate", "demo/access", "--propagated-for", "1s"}},
		{cli.Usage, "USAGE", "", []string{"revoke-all", "--confirm", "yes", "--reason", "x"}},
		{cli.Usage, "USAGE", "", []string{"revoke-all", "--confirm", "1-ABCD"}},
		{cli.Usage, "USAGE", "", []string{"grant", "create", "x", "--principal", "a:b", "--verbs", "fly", "--rings", "*"}},
		{cli.Usage, "USAGE", "", []string{"dev", "--dir", filepath.Join(dir, "other"), "--grpc", "0.0.0.0:0"}},
		{cli.Usage, "CONFIG_MISSING", "", []string{"serve", "--config", filepath.Join(dir, "absent.yaml")}},
		{cli.Failed, "CLAIM_DUPLICATE", `{"sub":"a","SUB":"b","aud":"x"}`, []string{"sign", "demo/access"}},
		{cli.Failed, "CLAIMS_MALFORMED", `{"sub":`, []string{"sign", "demo/access"}},
		{cli.Failed, "CLAIM_RESERVED", `{"iss":"x","aud":"x"}`, []string{"sign", "demo/access"}},
		{cli.Failed, "AUDIENCE_OUT_OF_SCOPE", `{"sub":"a","aud":"https://evil.test"}`, []string{"sign", "demo/access"}},
		{cli.Failed, "TTL_OUT_OF_SCOPE", claims, []string{"sign", "demo/access", "--ttl", "2h"}},
		{cli.NotFound, "RING_NOT_FOUND", claims, []string{"sign", "demo/absent"}},
		{cli.NotFound, "KEY_NOT_FOUND", "", []string{"key", "get", "demo/access/99"}},
		{cli.NotFound, "BACKEND_NOT_FOUND", "", []string{"revoke", "backend", "absent"}},
		{cli.Conflict, "IMPACT_CHANGED", "", []string{"revoke-all", "--reason", "x", "--confirm", "99-ABCD"}},
		{cli.Conflict, "STORE_EXISTS", "", []string{"init", "--config", filepath.Join(dir, "server.yaml"), "--admin", "a:b"}},
		{cli.Conflict, "ANCHOR_EXISTS", "", []string{"store", "anchor", "--config", filepath.Join(dir, "server.yaml")}},
		{cli.Failed, "TOKEN_MALFORMED", "", []string{"verify", "a.b.c"}},
	} {
		c.refused(x.code, x.reason, x.stdin, x.args...)
	}
}

// TestWalk walks twice: on a first start, and on what the first walk left.
func TestWalk(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	for i := range 2 {
		p := c.start("dev", "--dir", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--walk-only")
		if code := p.wait(); code != cli.Done {
			t.Fatalf("walk %d: exit %d\n%s%s", i+1, code, p.stdout.String(), p.stderr.String())
		}
		out := strings.TrimSpace(p.stdout.String())
		if !strings.HasSuffix(out, "walk: done") || strings.Count(out, "[KEY_REVOKED]") != 2 || !strings.Contains(out, "software-b") {
			t.Errorf("walk %d:\n%s", i+1, out)
		}
		if log := p.stderr.String(); log != "" {
			t.Errorf("walk %d: the server complained:\n%s", i+1, log)
		}
	}
}

// TestWalkFails: a step that goes wrong ends the walk and the server, and the exit status says so.
func TestWalkFails(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	w := &walk{a: c.app("", &buffer{}, &buffer{}), context: c.env["INTAGLIO_CONTEXT"]}
	if _, err := w.do(t.Context(), cli.Failed, "", "", "", "ring", "list"); err == nil {
		t.Error("a command that should have failed did not, and the walk went on")
	}
	if _, err := w.do(t.Context(), cli.Done, "", "", "", "ring", "get", "demo/absent"); err == nil {
		t.Error("a command failed, and the walk went on")
	}
	c.must(cli.Done, "", "grant", "create", "other", "--principal", "spiffe://demo.test/other", "--verbs", "admin", "--rings", "*")
	c.must(cli.Done, "", "grant", "delete", "admin")
	p.stop()
	p = c.start("dev", "--dir", dir, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--walk")
	if code := p.wait(); code != cli.Failed || !strings.Contains(p.stderr.String(), "[WALK_FAILED]") {
		t.Errorf("exit %d\n%s", code, p.stderr.String())
	}
}

// TestStops: a server that was told to stop says so to those who watch its health, and waits for the calls it has.
func TestStops(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	found, err := client.Load(c.env["INTAGLIO_CONTEXT"])
	if err != nil {
		t.Fatal(err)
	}
	pair, err := filepki.LoadPair(found.Cert, found.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := filepki.LoadPool(found.CA)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(found.Server, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "localhost", MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	health, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		res, err := health.Recv()
		if err != nil || res.GetStatus() != want {
			t.Fatalf("health %v, %v; want %v", res.GetStatus(), err, want)
		}
		p.cancel()
	}
	cancel()
	if code := p.wait(); code != cli.Done {
		t.Errorf("exit %d\n%s", code, p.stderr.String())
	}
}

func TestContexts(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	defer p.stop()
	if out := c.must(cli.Done, "", "context", "show").stdout; !strings.Contains(out, demoAdmin) || !strings.Contains(out, "INTAGLIO_CONTEXT") {
		t.Errorf("show: %s", out)
	}
	c.must(cli.Done, "", "context", "use", filepath.Join(dir, "app-context.yaml"))
	delete(c.env, "INTAGLIO_CONTEXT")
	if out := c.must(cli.Done, "", "context", "show").stdout; !strings.Contains(out, demoApp) {
		t.Errorf("show after use: %s", out)
	}
	if out := c.must(cli.Done, "", "context", "list").stdout; !strings.Contains(out, "* ") || !strings.Contains(out, demoApp) {
		t.Errorf("list: %s", out)
	}
	c.refused(cli.Denied, "GRANT_MISSING", "", "grant", "list")
	if err := os.Chmod(filepath.Join(dir, "app-key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.refused(cli.Failed, "FILE_EXPOSED", claims, "sign", "demo/access")
}

// TestHelp: every verb shows examples, and each example begins with this program or a shell's pipe into it.
func TestHelp(t *testing.T) {
	t.Parallel()
	root := newRoot(newConsole(t).app("", &buffer{}, &buffer{}))
	verbs := 0
	for _, c := range root.Commands() {
		all := append(c.Commands(), c)
		for _, v := range all {
			if v.Name() == "help" || c.Name() == "completion" || v.Name() == "completion" {
				continue
			}
			verbs++
			if v.Example == "" || v.Short == "" || !strings.Contains(v.Example, "intaglio "+strings.TrimPrefix(v.CommandPath(), "intaglio ")) {
				t.Errorf("%s: short %q, example %q", v.CommandPath(), v.Short, v.Example)
			}
		}
	}
	if verbs < 30 {
		t.Errorf("only %d verbs were looked at", verbs)
	}
}
