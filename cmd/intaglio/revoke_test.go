package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
)

// TestRevoke: a dry run changes nothing, a code stands for what was shown, and the cut holds.
func TestRevoke(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	defer p.stop()
	token := c.must(cli.Done, claims, "sign", "demo/access").stdout
	alive := func() {
		t.Helper()
		c.must(cli.Done, token, "verify", "--audience", demoAudience)
	}
	dry := c.must(cli.Done, "", "revoke-all", "--reason", "it's a drill")
	first := code(t, dry)
	for _, want := range []string{"DRY RUN", "1 key in 1 ring", "WHAT THIS CANNOT REACH", `intaglio revoke-all --reason 'it'\''s a drill' --confirm ` + first} {
		if !strings.Contains(dry.stdout, want) {
			t.Errorf("%q is missing from\n%s", want, dry.stdout)
		}
	}
	alive()
	if other := code(t, c.must(cli.Done, "", "revoke-all", "--into", spareBackend)); other == first {
		t.Errorf("another backend has the same code %s", first)
	}
	c.refused(cli.Conflict, "IMPACT_CHANGED", "", "revoke-all", "--into", spareBackend, "--reason", "x", "--confirm", first)
	c.must(cli.Done, "", "rotate", "demo/access") // one key more
	r := c.refused(cli.Conflict, "IMPACT_CHANGED", "", "revoke-all", "--reason", "x", "--confirm", first)
	if !strings.Contains(r.stderr, "2 keys in 1 ring would fall") || !strings.Contains(r.stderr, "--now") {
		t.Errorf("the refusal does not say what changed:\n%s", r.stderr)
	}
	alive()

	r = c.must(cli.Done, "", "revoke-all", "--reason", "x", "--confirm", first, "--now")
	if !strings.Contains(r.stdout, "2 keys in 1 ring") || !strings.Contains(r.stderr, "warning: what falls is now 2 keys") {
		t.Errorf("--now:\n%s%s", r.stdout, r.stderr)
	}
	c.refused(cli.Failed, "KEY_REVOKED", token, "verify", "--audience", demoAudience)
	_, id, _ := strings.Cut(strings.TrimSpace(r.stdout), "OPERATION")
	id = strings.TrimSpace(id)
	fresh := c.must(cli.Done, claims, "sign", "demo/access").stdout
	r = c.must(cli.Done, "", "revoke-all", "--reason", "x", "--confirm", first, "--request-id", id, "--timeout", "1s", "-o", "json")
	c.must(cli.Done, fresh, "verify", "--audience", demoAudience) // the repeat revoked nothing more
	if !strings.Contains(r.stdout, id) {
		t.Errorf("the repeat answers with another operation:\n%s", r.stdout)
	}
	c.refused(cli.Failed, "REQUEST_ID_REUSED", "", "revoke-all", "--reason", "y", "--confirm", first, "--request-id", id)
}

// TestRevokeWithoutLooking: who may only revoke does it, and learns that nobody watched.
func TestRevokeWithoutLooking(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	defer p.stop()
	app := filepath.Join(dir, "app-context.yaml")
	token := c.must(cli.Done, claims, "sign", "demo/access").stdout
	c.refused(cli.Denied, "GRANT_MISSING", "", "--context", app, "revoke", "ring", "demo/access")
	c.must(cli.Done, "", "grant", "create", "brake", "--principal", demoApp, "--verbs", "respond", "--rings", "demo/*")
	dry := c.must(cli.Done, "", "--context", app, "revoke", "ring", "demo/access", "--reason", "x")
	if !strings.Contains(dry.stdout, "intaglio --context "+app+" revoke ring demo/access") {
		t.Errorf("the command to repeat would be another's:\n%s", dry.stdout)
	}
	c.refused(cli.Left, "SOMETHING_LEFT", "", "--context", app, "revoke", "ring", "demo/access", "--reason", "x", "--confirm", code(t, dry))
	c.refused(cli.Failed, "KEY_REVOKED", token, "verify", "--audience", demoAudience)
	c.refused(cli.Denied, "GRANT_MISSING", "", "--context", app, "revoke-all", "--reason", "x")
}

// TestLeftover: exit status 7 is for what was done with something left to do, and for nothing else.
func TestLeftover(t *testing.T) {
	done, trouble := &pb.Operation{State: pb.Operation_STATE_CONFIRMED}, &pb.Operation{State: pb.Operation_STATE_DONE_WITH_ERRORS}
	for name, x := range map[string]struct {
		op   *pb.Operation
		w    watch
		left []string
		want cli.Code
	}{
		"all well":           {done, watch{}, nil, cli.Done},
		"a ring is silent":   {done, watch{}, []string{"issuers/demo/rings/access"}, cli.Left},
		"the server says so": {trouble, watch{}, nil, cli.Left},
		"nobody looked":      {done, watch{blind: errors.New("denied")}, nil, cli.Left},
	} {
		var b bytes.Buffer
		if got := cli.Report(&b, leftover(x.op, &x.w, x.left)); got != x.want {
			t.Errorf("%s: exit %d\n%s", name, got, b.String())
		}
		if x.left != nil && !strings.Contains(b.String(), "intaglio plan demo/access") {
			t.Errorf("%s: no way on:\n%s", name, b.String())
		}
	}
}

// TestPreviewsAgree: the store alone shows the same impact, and asks for the same code, as a server of it does.
func TestPreviewsAgree(t *testing.T) {
	t.Parallel()
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	defer p.stop()
	cfg := filepath.Join(dir, "server.yaml")
	c.must(cli.Done, "", "rotate", "demo/access") // a successor
	codes := map[string]string{}
	for _, args := range [][]string{
		{"revoke-all"}, {"revoke-all", "--into", spareBackend}, {"revoke", "issuer", "demo"}, {"revoke", "ring", "demo/access"},
		{"revoke", "ring", "issuers/demo/rings/access"}, {"revoke", "key", "demo/access/1"}, {"revoke", "key", "demo/access/2"},
		{"revoke", "backend", demoBackend}, {"revoke", "backend", spareBackend},
	} {
		line := strings.Join(args, " ")
		online := c.must(cli.Done, "", append(args, "-o", "name")...).stdout
		offline := c.must(cli.Done, "", append(args, "--store", cfg, "-o", "name")...).stdout
		if online != offline || !cli.IsConfirmCode(strings.TrimSpace(online)) {
			t.Errorf("%s: %q from the server, %q from the store", line, online, offline)
		}
		codes[online] += line + "; "
	}
	if len(codes) != 8 { // a ring has two names
		t.Errorf("different impacts share a code: %q", codes)
	}
	for _, x := range []struct {
		code   cli.Code
		reason string
		args   []string
	}{
		{cli.NotFound, "BACKEND_NOT_FOUND", []string{"revoke-all", "--into", "vault"}},
		{cli.Usage, "USAGE", []string{"revoke", "backend", demoBackend, "--into", demoBackend}},
		{cli.NotFound, "ISSUER_NOT_FOUND", []string{"revoke", "issuer", "demmo"}},
		{cli.NotFound, "RING_NOT_FOUND", []string{"revoke", "ring", "demo/acess"}},
		{cli.NotFound, "KEY_NOT_FOUND", []string{"revoke", "key", "demo/access/3"}},
		{cli.NotFound, "BACKEND_NOT_FOUND", []string{"revoke", "backend", "vault"}},
	} {
		args := append(x.args, "--store", cfg, "--reason", "x")
		c.refused(x.code, x.reason, "", args...)
		c.refused(x.code, x.reason, "", append(args, "--confirm", "0-0000", "--now")...)
	}
	c.must(cli.Done, claims, "sign", "demo/access")
}

// TestPerIssuer: the table sums up rings, and says where each issuer's are made again.
func TestPerIssuer(t *testing.T) {
	late := time.Now().Add(time.Hour)
	rows := perIssuer([]*pb.RingImpact{
		{Ring: "issuers/b/rings/x", Keys: 2, Backend: "hsm"},
		{Ring: "issuers/a/rings/x", Keys: 1, Backend: "vault", LastTokenExpireTime: timestamppb.New(late)},
		{Ring: "issuers/b/rings/y", Keys: 1199, Backend: "vault"},
	})
	if len(rows) != 2 || strings.Join(rows[0][:4], " ") != "a 1 1 vault" || strings.Join(rows[1][:4], " ") != "b 2 1,201 hsm, vault" {
		t.Errorf("%q", rows)
	}
	if rows[0][4] != cli.Time(late, time.Now()) || rows[1][4] != "" {
		t.Errorf("last tokens %q, %q", rows[0][4], rows[1][4])
	}
}
