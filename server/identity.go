package server

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// identifying is mutual TLS that works out who the caller is once a connection.
type identifying struct {
	credentials.TransportCredentials
}

// callerInfo is TLS's own information, and the principal that the client's certificate names.
type callerInfo struct {
	credentials.TLSInfo
	principal string
}

func newIdentifying(config *tls.Config) credentials.TransportCredentials {
	return identifying{credentials.NewTLS(config)}
}

// ServerHandshake does TLS's handshake and reads the principal.
func (c identifying) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, auth, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	info, ok := auth.(credentials.TLSInfo)
	if !ok {
		return conn, auth, nil
	}
	return conn, callerInfo{info, principalOf(info.State)}, nil
}

// Clone keeps the wrapping.
func (c identifying) Clone() credentials.TransportCredentials {
	return identifying{c.TransportCredentials.Clone()}
}

// principalOf names the owner of a verified client certificate: its one URI SAN, or without any URI its one DNS SAN as
// dns:host. Anything else names nobody; the subject's common name never counts.
func principalOf(state tls.ConnectionState) string {
	if len(state.VerifiedChains) == 0 {
		return ""
	}
	leaf := state.VerifiedChains[0][0]
	switch {
	case len(leaf.URIs) == 1:
		return leaf.URIs[0].String()
	case len(leaf.URIs) == 0 && len(leaf.DNSNames) == 1:
		return "dns:" + leaf.DNSNames[0]
	}
	return ""
}

// principal names the caller of the RPC that ctx belongs to.
func principal(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if ok {
		if info, ok := p.AuthInfo.(callerInfo); ok && info.principal != "" {
			return info.principal, nil
		}
	}
	return "", fail(pb.Reason_REASON_CALLER_UNKNOWN, "the client certificate names nobody: it needs exactly one URI SAN, or exactly one DNS SAN")
}

// everything is the target of what concerns the whole store.
const everything = "*"

// admit is the guard at every door: it names the caller and gives out the snapshot to answer from, if some grant lets
// the caller do verb on target (a ring's name, issuer/*, or everything). It comes before any look at whether the target exists.
func (s *Server) admit(ctx context.Context, verb keyring.Verb, target string) (*keyring.Snapshot, string, error) {
	caller, err := principal(ctx)
	if err != nil {
		return nil, "", err
	}
	snap, err := s.live.Current()
	if err != nil {
		return nil, "", err
	}
	if !snap.Allowed(caller, verb, target) {
		return nil, "", fail(pb.Reason_REASON_GRANT_MISSING, "%s has no grant to %s on %s", caller, verb, target)
	}
	return snap, caller, nil
}
