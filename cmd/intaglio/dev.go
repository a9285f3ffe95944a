package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/keyring"
)

type devOptions struct {
	dir, grpc, http string
	walk, walkOnly  bool
}

func newDev(a *app) *cobra.Command {
	var o devOptions
	c := &cobra.Command{
		Use: "dev", Short: "Everything in one process, for trying it out",
		Long: `Run a server on this machine with everything it needs in one folder: a certificate authority, two clients, a database, and a ring that
signs. State survives a restart. NOT FOR PRODUCTION: the keys, and everything that guards them, are side by side in one folder.`,
		Example: `  intaglio dev
  intaglio dev --walk
  intaglio dev --dir try --grpc 127.0.0.1:0 --http 127.0.0.1:0`,
		Args: takes(),
		RunE: func(c *cobra.Command, _ []string) error { return a.dev(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", ".intaglio", "`FOLDER` for the state; made when it is not there")
	f.StringVar(&o.grpc, "grpc", "127.0.0.1:7443", "loopback `ADDRESS` for gRPC; port 0 takes a free one")
	f.StringVar(&o.http, "http", "127.0.0.1:7480", "loopback `ADDRESS` for HTTP; port 0 takes a free one")
	f.BoolVar(&o.walk, "walk", false, "first walk through the main job, as a client would, then keep serving")
	f.BoolVar(&o.walkOnly, "walk-only", false, "walk through the main job, then stop")
	return c
}

func (a *app) dev(ctx context.Context, o devOptions) error {
	for flag, address := range map[string]string{"--grpc": o.grpc, "--http": o.http} {
		if _, _, err := net.SplitHostPort(address); err != nil || !config.Loopback(address) {
			return cli.Misused(fmt.Sprintf("%s: %s is not a loopback address with a port", flag, address),
				"For example:  intaglio dev %s 127.0.0.1:0.    To serve others:  intaglio init --help", flag)
		}
	}
	state, err := openDevState(ctx, o.dir)
	if err != nil {
		return err
	}
	defer state.Close()
	state.cfg.Listen = config.Listen{GRPC: o.grpc, HTTP: o.http}
	return serve(ctx, state.cfg, a.logger(state.cfg.Log), func(ctx context.Context, b bound) error {
		signer := awaitSigner(ctx, b.live)
		if err := state.publish(b); err != nil {
			return fileFailure(err, "cannot tell clients where the server is", state.dir)
		}
		a.banner(o, state, b, signer)
		if !o.walk && !o.walkOnly {
			return nil
		}
		if err := newWalk(a, state, b).run(ctx); err != nil {
			return err
		}
		if o.walkOnly {
			return errDone
		}
		a.whatNext(o, b)
		return nil
	})
}

// awaitSigner gives the ring a moment to have its first key; on a start with nothing to sign with, people are let in all the same.
func awaitSigner(ctx context.Context, live *keyring.Live) string {
	deadline := time.After(10 * time.Second)
	for {
		if s, err := live.Current(); err == nil {
			if l, ok := s.Line(demoRing); ok && l.Signer != nil {
				return demoRing + "  " + l.Signer.Algorithm + "  signing"
			}
		}
		select {
		case <-ctx.Done():
			return "stopping"
		case <-deadline:
			return demoRing + "  NO SIGNER: intaglio plan " + demoRing
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *app) banner(o devOptions, s *devState, b bound, signer string) {
	fmt.Fprintf(a.stdout, "intaglio %s dev mode. State in %s (kept between starts). NOT FOR PRODUCTION: keys are in this process.\n", version, cli.Clean(o.dir))
	fmt.Fprintf(a.stdout, "  grpc  %s (mTLS)      http  %s      ring  %s\n", b.grpc, b.http, signer)
	fmt.Fprintln(a.stdout, "In another terminal:")
	fmt.Fprintf(a.stdout, "  %s\n", exportLine(shortest(s.path("context.yaml"))))
	fmt.Fprintf(a.stdout, "  echo '%s' | intaglio sign %s\n", demoClaims, demoRing)
}

const demoClaims = `{"sub":"alice","aud":"` + demoAudience + `"}`

func exportLine(contextFile string) string {
	return "export INTAGLIO_CONTEXT=" + cli.ShellQuote(contextFile)
}

// shortest is a path the way a person in this folder would type it.
func shortest(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// whatNext is what a person may want to type after the walk, while the server keeps serving.
func (a *app) whatNext(o devOptions, b bound) {
	dir := cli.ShellQuote(o.dir)
	fmt.Fprintf(a.stdout, `--
Still serving; Ctrl-C stops. In another terminal, try:
  %s
  echo '%s' | intaglio sign %s | intaglio verify --explain
  intaglio ring list    intaglio key list %s    intaglio plan    intaglio grant list
  intaglio issuer create shop --url https://shop.test
  intaglio ring create shop/id --typ JWT --any-audience --backend software --propagation 5s --skew 1s
  intaglio grant list --context %s/app-context.yaml        as the app, who may not: see how it says so
  intaglio store verify --config %s/server.yaml
  curl -s %s/%s/.well-known/openid-configuration
`, exportLine(o.dir+"/context.yaml"), demoClaims, demoRing, demoRing, dir, dir, b.http, demoIssuer)
}
