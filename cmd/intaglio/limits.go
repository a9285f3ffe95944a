package main

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/net/netutil"
)

// The most connections at once. A caller needs one or two; a proxy in front of the public keys reuses its own.
const (
	maxGRPC = 4096
	maxHTTP = 1024
)

// limited bounds how many connections both listeners have open at once. Who comes when there are as many waits in the kernel's queue, so
// that strangers at the public door cannot take the file descriptors that callers and the database need.
func limited(grpc, http net.Listener) (net.Listener, net.Listener, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, nil, fmt.Errorf("asking how many files may be open: %w", err)
	}
	g, h := shares(uint64(files.Cur))
	return netutil.LimitListener(grpc, g), netutil.LimitListener(http, h), nil
}

// shares divides the file descriptors there may be: at most half for gRPC, a quarter for HTTP, and the rest for the database.
func shares(files uint64) (grpc, http int) {
	return int(max(1, min(maxGRPC, files/2))), int(max(1, min(maxHTTP, files/4)))
}
