package main

import (
	"math"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"intaglio.example/cmd/intaglio/internal/cli"
)

func TestShares(t *testing.T) {
	for _, x := range []struct {
		files      uint64
		grpc, http int
	}{
		{math.MaxUint64, maxGRPC, maxHTTP}, {1 << 20, maxGRPC, maxHTTP}, {8192, maxGRPC, maxHTTP}, {8191, 4095, maxHTTP},
		{1024, 512, 256}, {256, 128, 64}, {0, 1, 1},
	} {
		if grpc, http := shares(x.files); grpc != x.grpc || http != x.http {
			t.Errorf("%d files: %d and %d, want %d and %d", x.files, grpc, http, x.grpc, x.http)
		}
	}
}

// TestCrowd: as many strangers as the public door lets in keep nobody from signing.
func TestCrowd(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	few := syscall.Rlimit{Cur: 256, Max: files.Max} // so that a door is full soon
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
	c, dir := newConsole(t), filepath.Join(t.TempDir(), "state")
	p := c.startDev(dir)
	defer p.stop()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil { // the crowd is of this process too
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(p.stdout.String(), "http://")
	address, _, _ := strings.Cut(rest, " ")
	let := func() bool { // whether the server talks to one more
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
		conn.Write([]byte("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))
		n, _ := conn.Read(make([]byte, 16))
		return n > 0
	}
	in := 0
	for ; in <= 64 && let(); in++ {
	}
	if in != 64 {
		t.Errorf("%d connections were let in, want 64", in)
	}
	c.must(cli.Done, claims, "sign", "demo/access")
}
