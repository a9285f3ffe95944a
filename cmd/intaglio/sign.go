package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
)

func newSign(a *app) *cobra.Command {
	var claims string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "sign RING",
		Short: "Sign a token: claims in, token out",
		Long: `Sign a token with the ring's signer. The claims are one JSON object; its members pass into the token byte for byte.
aud is required and must be within the ring's audiences; iss, iat, exp and jti are set by the service.`,
		Example: `  echo '{"sub":"alice","aud":"https://api.demo.test"}' | intaglio sign demo/access
  intaglio sign demo/access --claims claims.json --ttl 5m
  intaglio sign demo/access --claims claims.json -o json`,
		Args: takes("RING"),
		RunE: a.online(func(ctx context.Context, c *client.Client, args []string) error {
			return a.sign(ctx, c, args[0], claims, ttl)
		}),
	}
	c.Flags().StringVar(&claims, "claims", "", "`FILE` with the claims (default standard input)")
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long the token lives (default the ring's)")
	return c
}

func (a *app) sign(ctx context.Context, c *client.Client, ring, file string, ttl time.Duration) error {
	claims, err := a.readInput(file, "claims")
	if err != nil {
		return err
	}
	req := &pb.SignTokenRequest{Ring: ring, Claims: claims}
	if ttl != 0 {
		req.Expiration = &pb.SignTokenRequest_Ttl{Ttl: durationpb.New(ttl)}
	}
	res, err := c.Signing.SignToken(ctx, req)
	if err != nil {
		return cli.Refused(err, "cannot sign with "+ring, cli.Short(ring))
	}
	return a.printer().Message(res, []string{res.GetToken()}, func(w io.Writer) { fmt.Fprintln(w, res.GetToken()) })
}
