package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// identifying is mutual TLS that works out who the caller is once a connection.
type identifying struct {
	credentials.TransportCredentials
}

// callerInfo is TLS's own information, and the principal that the client's certificate names, or why it names none.
type callerInfo struct {
	credentials.TLSInfo
	principal string
	nameless  error
	expires   time.Time // NotAfter of the certificate
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
	if len(info.State.VerifiedChains) == 0 {
		return conn, auth, nil
	}
	leaf := info.State.VerifiedChains[0][0]
	name, err := PrincipalOf(leaf)
	return conn, callerInfo{TLSInfo: info, principal: name, nameless: err, expires: leaf.NotAfter}, nil
}

// Clone keeps the wrapping.
func (c identifying) Clone() credentials.TransportCredentials {
	return identifying{c.TransportCredentials.Clone()}
}

// The parts of a subject alternative name (RFC 5280, section 4.2.1.6) that can name a caller.
const (
	tagDNS = 2
	tagURI = 6
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// PrincipalOf names the owner of a client certificate, which the caller has verified: its one URI SAN, or without any URI
// its one DNS SAN as dns:host. Both are taken byte for byte as they stand in the certificate: a parsed URL prints some that
// differ as the same text. Anything else names nobody and is an error: a URI of the scheme dns would pass for the name of
// a host, and the subject's common name never counts.
func PrincipalOf(cert *x509.Certificate) (string, error) {
	uris, hosts, err := altNames(cert)
	switch {
	case err != nil:
		return "", err
	case len(uris) == 1:
		if scheme, _, ok := strings.Cut(uris[0], ":"); !ok || scheme == "" || strings.EqualFold(scheme, "dns") {
			return "", fmt.Errorf("the client certificate names nobody: its URI SAN %s has no scheme, or that of host names", quoted(uris[0]))
		}
		return uris[0], nil
	case len(uris) == 0 && len(hosts) == 1:
		return "dns:" + hosts[0], nil
	}
	return "", fmt.Errorf("the client certificate names nobody: it needs exactly one URI SAN, or exactly one DNS SAN, and has %d and %d", len(uris), len(hosts))
}

// altNames reads the URIs and the DNS names of a certificate as they stand.
func altNames(cert *x509.Certificate) (uris, hosts []string, err error) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil, nil, errors.New("the client certificate names nobody: its SANs cannot be read")
		}
		for _, name := range names {
			switch {
			case name.Class != asn1.ClassContextSpecific || name.IsCompound:
			case name.Tag == tagURI:
				uris = append(uris, string(name.Bytes))
			case name.Tag == tagDNS:
				hosts = append(hosts, string(name.Bytes))
			}
		}
	}
	return uris, hosts, nil
}

// principal names the caller of the RPC that ctx belongs to, as long as the certificate is good: a connection may outlive
// it. The clock is the one that TLS judged it by.
func principal(ctx context.Context) (string, error) {
	var info callerInfo
	if p, ok := peer.FromContext(ctx); ok {
		info, _ = p.AuthInfo.(callerInfo)
	}
	switch {
	case info.nameless != nil:
		return "", fail(pb.Reason_REASON_CALLER_UNKNOWN, "%v", info.nameless)
	case info.principal == "":
		return "", fail(pb.Reason_REASON_CALLER_UNKNOWN, "the caller showed no certificate")
	case time.Now().After(info.expires):
		return "", fail(pb.Reason_REASON_CALLER_UNKNOWN, "%s is no longer known: its certificate expired at %s", info.principal, info.expires.UTC().Format(time.RFC3339))
	}
	return info.principal, nil
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
