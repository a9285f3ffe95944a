package filepki_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"intaglio.example/cmd/intaglio/internal/filepki"
)

var (
	start  = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	client = filepki.Leaf{URIs: []string{"spiffe://demo.test/app"}}
	server = filepki.Leaf{Server: true, DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
)

func ensure(t *testing.T, dir, name string, leaf filepki.Leaf, now time.Time) *x509.Certificate {
	t.Helper()
	ca, err := filepki.Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Ensure(name, leaf); err != nil {
		t.Fatal(err)
	}
	return load(t, dir, name).Leaf
}

func load(t *testing.T, dir, name string) tls.Certificate {
	t.Helper()
	pair, err := filepki.LoadPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestChains(t *testing.T) {
	dir := t.TempDir()
	leaf := ensure(t, dir, "app", client, start)
	pool, err := filepki.LoadPool(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	opts := x509.VerifyOptions{Roots: pool, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := leaf.Verify(opts); err != nil {
		t.Errorf("a client's certificate does not chain: %v", err)
	}
	opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if _, err := leaf.Verify(opts); err == nil {
		t.Error("a client's certificate may serve")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != client.URIs[0] {
		t.Errorf("URIs %v", leaf.URIs)
	}
	served := ensure(t, dir, "server", server, start)
	if _, err := served.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: start, DNSName: "127.0.0.1"}); err != nil {
		t.Errorf("the server's certificate: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "app-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info.Mode(), err)
	}
}

func TestKeptUntilItMatters(t *testing.T) {
	dir := t.TempDir()
	first := ensure(t, dir, "app", client, start)
	if again := ensure(t, dir, "app", client, start.Add(time.Hour)); !again.Equal(first) {
		t.Error("a good certificate was replaced")
	}
	if later := ensure(t, dir, "app", client, start.Add(61*24*time.Hour)); later.Equal(first) {
		t.Error("a certificate with 29 days left was kept")
	}
	other := filepki.Leaf{URIs: []string{"spiffe://demo.test/other"}}
	if changed := ensure(t, dir, "app", other, start.Add(62*24*time.Hour)); changed.URIs[0].String() != other.URIs[0] {
		t.Error("a certificate for somebody else was kept")
	}
	if served := ensure(t, dir, "app", server, start.Add(62*24*time.Hour)); served.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Error("a client's certificate was kept for a server")
	}
}

func TestNewAuthorityReissues(t *testing.T) {
	dir := t.TempDir()
	first := ensure(t, dir, "app", client, start)
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if second := ensure(t, dir, "app", client, start); second.Equal(first) {
		t.Error("a certificate of the authority before was kept")
	}
}

// TestHalfWritten: a crash after the key and before the certificate leaves two that do not fit.
func TestHalfWritten(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	first := ensure(t, dir, "app", client, start)
	ensure(t, elsewhere, "app", client, start)
	strange, err := os.ReadFile(filepath.Join(elsewhere, "app-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app-key.pem"), strange, 0o600); err != nil {
		t.Fatal(err)
	}
	if second := ensure(t, dir, "app", client, start); second.Equal(first) {
		t.Error("a certificate was kept whose key is another's")
	}
}

func TestExposedKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, "app", client, start)
	if err := os.Chmod(filepath.Join(dir, "app-key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := filepki.LoadPair(filepath.Join(dir, "app.pem"), filepath.Join(dir, "app-key.pem")); err == nil {
		t.Error("a key that everybody may read was loaded")
	}
	ca, err := filepki.Open(dir, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Ensure("app", client); err == nil {
		t.Error("an exposed key was replaced in silence")
	}
}
