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
	"intaglio.example/keyring"
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

// TestOfflineImpact counts exactly what a cutoff of the same reach would fell.
func TestOfflineImpact(t *testing.T) {
	at := now()
	ring := demoRows(at).Rings[0]
	ring.NextSerial = 6
	for i, state := range []keyring.State{keyring.Revoked, keyring.Retired, keyring.Retiring, keyring.Active, keyring.Staged} {
		ring.Keys = append(ring.Keys, keyring.Key{
			Serial: uint64(i + 1), State: state, Reserved: keyring.Revision(i + 1), Backend: demoBackend, Scope: ring.Scope, Retiring: at,
		})
	}
	ring.Keys[4].Backend = spareBackend
	s, err := keyring.NewSnapshot(keyring.Changes{
		Full: true, Store: "0011223344556677", Position: keyring.Position{Revision: 9}, Timing: keyring.DefaultTiming(),
		Issuers: demoRows(at).Issuers, Rings: []keyring.Ring{ring},
	})
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, x := range []struct {
		reach      keyring.Reach
		keys, lost int64
	}{
		{keyring.Reach{Kind: keyring.All}, 3, 1},
		{keyring.Reach{Kind: keyring.OneIssuer, Name: "demo"}, 3, 1},
		{keyring.Reach{Kind: keyring.OneIssuer, Name: "shop"}, 0, 0},
		{keyring.Reach{Kind: keyring.OneRing, Name: demoRing}, 3, 1},
		{keyring.Reach{Kind: keyring.OneKey, Name: demoRing + "/3"}, 1, 0},
		{keyring.Reach{Kind: keyring.OneKey, Name: demoRing + "/4"}, 1, 1},
		{keyring.Reach{Kind: keyring.OneKey, Name: demoRing + "/1"}, 0, 0},
		{keyring.Reach{Kind: keyring.OneBackend, Name: demoBackend}, 2, 1},
		{keyring.Reach{Kind: keyring.OneBackend, Name: spareBackend}, 1, 0},
	} {
		i := offlineImpact(s, x.reach, "")
		if i.GetKeys() != x.keys || int64(len(i.GetWorst())) != x.lost {
			t.Errorf("%v: %d keys, %d rings lose their signer; want %d and %d", x.reach, i.GetKeys(), len(i.GetWorst()), x.keys, x.lost)
		}
		if other, ok := digests[i.GetDigest()]; ok && x.keys > 0 {
			t.Errorf("%v has the digest of %s", x.reach, other)
		}
		digests[i.GetDigest()] = x.reach.String()
	}
	if into := offlineImpact(s, keyring.Reach{Kind: keyring.All}, spareBackend); into.GetWorst()[0].GetBackend() != spareBackend || digests[into.GetDigest()] != "" {
		t.Errorf("into: %v", into)
	}
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
