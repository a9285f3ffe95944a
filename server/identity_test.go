package server

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pb "intaglio.example/api/intagliov1"
)

// san is a subject alternative name extension with names just as they are given.
func san(t testing.TB, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	value, err := asn1.Marshal(names)
	no(t, err)
	return pkix.Extension{Id: oidSubjectAltName, Value: value}
}

func uri(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(s)}
}

func host(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagDNS, Bytes: []byte(s)}
}

// TestPrincipalOf: names are compared byte for byte as they stand in certificates, so none that differ are one caller.
func TestPrincipalOf(t *testing.T) {
	ca := newAuthority(t)
	mail := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte("a@ops.example")}
	for name, row := range map[string]struct {
		names []asn1.RawValue
		want  string // "" is nobody
	}{
		"one URI":              {[]asn1.RawValue{uri("spiffe://demo.test/admin")}, "spiffe://demo.test/admin"},
		"an upper case scheme": {[]asn1.RawValue{uri("SPIFFE://demo.test/admin")}, "SPIFFE://demo.test/admin"},
		"an empty fragment":    {[]asn1.RawValue{uri("SPIFFE://demo.test/admin#")}, "SPIFFE://demo.test/admin#"},
		"a space":              {[]asn1.RawValue{uri("spiffe://demo.test/a b")}, "spiffe://demo.test/a b"},
		"a space, escaped":     {[]asn1.RawValue{uri("spiffe://demo.test/a%20b")}, "spiffe://demo.test/a%20b"},
		"a URI and a host":     {[]asn1.RawValue{host("ops.example"), uri("spiffe://demo.test/admin")}, "spiffe://demo.test/admin"},
		"one host":             {[]asn1.RawValue{host("ops.example"), mail}, "dns:ops.example"},
		"a URI like a host":    {[]asn1.RawValue{uri("dns:ops.example")}, ""},
		"one in upper case":    {[]asn1.RawValue{uri("DNS:ops.example")}, ""},
		"one beside a host":    {[]asn1.RawValue{uri("dns:root.example"), host("ops.example")}, ""},
		"no scheme":            {[]asn1.RawValue{uri("admin")}, ""},
		"two URIs":             {[]asn1.RawValue{uri("spiffe://demo.test/a"), uri("spiffe://demo.test/b")}, ""},
		"two hosts":            {[]asn1.RawValue{host("a.example"), host("b.example")}, ""},
		"neither":              {[]asn1.RawValue{mail}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cert, _ := ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: root}, ExtraExtensions: []pkix.Extension{san(t, row.names...)}})
			got, err := PrincipalOf(cert)
			is(t, "principal", got, row.want)
			is(t, "an error", err != nil, row.want == "")
		})
	}
	cert, _ := ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: root}})
	_, err := PrincipalOf(cert)
	is(t, "no SAN at all is an error", err != nil, true)
}

// withCert returns a client with a certificate of one's own.
func (w *world) withCert(c *x509.Certificate) client {
	w.t.Helper()
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(credentials.NewTLS(w.ca.tlsConfig(w.t, c))))
	no(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	return clientOn(conn)
}

// TestCertificateExpiresOnOpenConnection: a connection is no longer good than the certificate that it was opened with.
func TestCertificateExpiresOnOpenConnection(t *testing.T) {
	w := newWorld(t)
	c := w.withCert(&x509.Certificate{ExtraExtensions: []pkix.Extension{san(t, uri(app))}, NotAfter: time.Now().Add(2 * time.Second)})
	req := &pb.SignTokenRequest{Ring: demo, Claims: claims()}
	_, err := c.SignToken(t.Context(), req)
	no(t, err)
	w.await("the certificate to expire", func() bool {
		_, err = c.SignToken(t.Context(), req)
		return err != nil
	})
	refused(t, err, pb.Reason_REASON_CALLER_UNKNOWN, "")
}
