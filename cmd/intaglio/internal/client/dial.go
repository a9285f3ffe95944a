package client

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/filepki"
	"intaglio.example/server"
)

// maxAnswer bounds one answer: a page of 1,000 rings with long lists of audiences.
const maxAnswer = 64 << 20

// A Client is the services of one server, as one caller. Close it.
type Client struct {
	Context    *Context
	Signing    pb.SigningServiceClient
	KeySets    pb.KeySetServiceClient
	Admin      pb.AdminServiceClient
	Revocation pb.RevocationServiceClient

	conn *grpc.ClientConn
}

// Identity is who a context says we are.
type Identity struct {
	Principal string // as grants write it; empty when the certificate names nobody
	Nameless  string // then, why
	Until     time.Time
}

// Identity reads the context's certificate.
func (c *Context) Identity() (Identity, error) {
	pair, err := filepki.LoadPair(c.Cert, c.Key)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %s: %w", ErrInvalid, c.Path, err)
	}
	id := Identity{Until: pair.Leaf.NotAfter}
	if id.Principal, err = server.PrincipalOf(pair.Leaf); err != nil {
		id.Nameless = err.Error()
	}
	return id, nil
}

// Dial prepares the connection by mutual TLS 1.3. Nothing is sent before the first call.
func (c *Context) Dial() (*Client, error) {
	pair, err := filepki.LoadPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, c.Path, err)
	}
	pool, err := filepki.LoadPool(c.CA)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, c.Path, err)
	}
	name := c.ServerName
	if name == "" {
		if name, _, err = net.SplitHostPort(c.Server); err != nil {
			return nil, fmt.Errorf("%w: %s: server: %w", ErrInvalid, c.Path, err)
		}
	}
	conn, err := grpc.NewClient(c.Server,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: pool, Certificates: []tls.Certificate{pair},
		})),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: server: %w", ErrInvalid, c.Path, err)
	}
	return &Client{
		Context:    c,
		Signing:    pb.NewSigningServiceClient(conn),
		KeySets:    pb.NewKeySetServiceClient(conn),
		Admin:      pb.NewAdminServiceClient(conn),
		Revocation: pb.NewRevocationServiceClient(conn),
		conn:       conn,
	}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }
