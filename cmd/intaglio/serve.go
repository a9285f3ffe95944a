package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
	"intaglio.example/cmd/intaglio/internal/filepki"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
	"intaglio.example/rotation"
	"intaglio.example/server"
)

func newServe(a *app) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "serve --config FILE", Short: "The server",
		Long: `Serve gRPC over mutual TLS, and public keys over HTTP. SIGTERM or SIGINT stops it in good order: it says that it is not ready, finishes
the calls it has, and closes the store.`,
		Example: "  intaglio serve --config /etc/intaglio/server.yaml",
		Args:    takes(),
		PreRunE: func(c *cobra.Command, _ []string) error { return required(c, "config") },
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return configFailure(err)
			}
			log := a.logger(cfg.Log)
			return serve(c.Context(), cfg, log, func(_ context.Context, b bound) error {
				log.Info("serving", "version", version, "grpc", b.grpc, "http", b.http)
				return nil
			})
		},
	}
	c.Flags().StringVar(&path, "config", "", "the server's configuration `FILE`")
	return c
}

func (a *app) logger(c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// bound is a server that answers.
type bound struct {
	grpc string // host:port
	http string // base URL
	live *keyring.Live
}

// serve reads as a straight line from the configuration to the listeners, and back in the same order when ctx ends. Once the listeners
// answer it calls ready; an error of ready ends the server.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func(context.Context, bound) error) (err error) {
	ballast := make([]byte, gcBallast)
	defer runtime.KeepAlive(ballast)
	lock, err := lockStore(cfg)
	if err != nil {
		return err
	}
	defer lock.Close()
	store, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	anchor, err := openAnchor(cfg)
	if err != nil {
		return err
	}
	live := keyring.NewLive(store, anchor, log, nil)
	if err := live.Refresh(ctx); err != nil {
		return firstLook(ctx, err, cfg, store, anchor)
	}
	set, err := openBackends(ctx, cfg, store)
	if err != nil {
		return err
	}
	rotator := rotation.New(rotation.Config{
		Store: store, Live: live, Backends: set, Policy: rotation.DefaultPolicy(store.Timing()), Log: log,
	})
	srv := server.New(server.Config{
		Store: store, Live: live, Backends: set, Rotator: rotator, Log: log, Reflection: cfg.Reflection,
	})
	l, err := listen(cfg)
	if err != nil {
		return err
	}

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	work.Go(func() { live.Run(background, refreshInterval(store.Timing())) })
	work.Go(func() { rotator.Run(background) })
	return l.answer(ctx, srv, log, bound{l.grpc.Addr().String(), l.httpURL(), live}, ready)
}

// gcBallast is address space that is never touched, and so takes no memory. The collector runs when the heap has doubled, and a
// signer has a heap of a few megabytes and much garbage: without the ballast it would collect dozens of times a second.
const gcBallast = 48 << 20

// refreshInterval looks at the store every second, and more often where a snapshot lives for a few seconds only.
func refreshInterval(t keyring.Timing) time.Duration { return min(time.Second, t.SnapshotTTL/4) }

// firstLook explains why a store was refused before anything was done with it.
func firstLook(ctx context.Context, err error, cfg *config.Config, store *sqlstore.Store, anchor *keyring.Anchor) *cli.Failure {
	if !errors.Is(err, keyring.ErrRollback) {
		return storeFailure(err, cfg)
	}
	var at keyring.Position
	if c, readErr := store.Changes(ctx, keyring.Position{}); readErr == nil {
		at = c.Position
	}
	return wentBack(err, cfg, store.ID(), at, anchor)
}

// listeners are the two addresses, bound.
type listeners struct {
	grpc, http net.Listener
	callers    *tls.Config // mutual
	public     *tls.Config // nil on loopback
}

func listen(cfg *config.Config) (*listeners, error) {
	pair, err := filepki.LoadPair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		return nil, fileFailure(err, "cannot load the server's certificate", cfg.TLS.Key)
	}
	pool, err := filepki.LoadPool(cfg.TLS.ClientCA)
	if err != nil {
		return nil, fileFailure(err, "cannot load the authorities of the callers", cfg.TLS.ClientCA)
	}
	l := &listeners{callers: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}}
	if !config.Loopback(cfg.Listen.HTTP) {
		l.public = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	}
	if l.grpc, err = net.Listen("tcp", cfg.Listen.GRPC); err != nil {
		return nil, listenFailure(err, "listen.grpc", cfg.Listen.GRPC)
	}
	if l.http, err = net.Listen("tcp", cfg.Listen.HTTP); err != nil {
		l.grpc.Close()
		return nil, listenFailure(err, "listen.http", cfg.Listen.HTTP)
	}
	if l.grpc, l.http, err = limited(l.grpc, l.http); err != nil {
		return nil, err
	}
	return l, nil
}

func listenFailure(err error, key, address string) *cli.Failure {
	return &cli.Failure{
		What: "cannot listen on " + address, Reason: "ADDRESS_UNUSABLE", Why: err.Error(), Cause: err, Code: cli.Failed,
		Next: "Stop what listens there, or change " + key + " (for intaglio dev: --grpc and --http).",
	}
}

func (l *listeners) httpURL() string {
	if l.public != nil {
		return "https://" + l.http.Addr().String()
	}
	return "http://" + l.http.Addr().String()
}

// answer serves until ctx ends, a listener fails, or ready returns an error; then it lets go of the callers in good order.
func (l *listeners) answer(ctx context.Context, srv *server.Server, log *slog.Logger, b bound, ready func(context.Context, bound) error) error {
	g := srv.GRPC(l.callers)
	h := &http.Server{
		Handler: srv.HTTP(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 15 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	public := l.http
	if l.public != nil {
		public = tls.NewListener(l.http, l.public)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() { cancel(fmt.Errorf("gRPC on %s: %w", b.grpc, g.Serve(l.grpc))) })
	serving.Go(func() { cancel(fmt.Errorf("HTTP on %s: %w", b.http, h.Serve(public))) })
	serving.Go(func() {
		if err := ready(ctx, b); err != nil {
			cancel(err)
		}
	})

	<-ctx.Done()
	why := context.Cause(ctx)
	srv.Drain()
	log.Info("stopping", "why", why)
	release(context.WithoutCancel(ctx), g, h)
	if errors.Is(why, context.Canceled) || errors.Is(why, errDone) {
		return nil
	}
	return why
}

// errDone is how ready says that all is done and the server may stop.
var errDone = errors.New("done")

// grace is how long calls may take to finish once the server stops.
const grace = 10 * time.Second

// release stops accepting work and waits for the calls there are, for a while.
func release(ctx context.Context, g *grpc.Server, h *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	var done sync.WaitGroup
	done.Go(func() {
		if err := h.Shutdown(ctx); err != nil {
			h.Close()
		}
	})
	done.Go(func() {
		stopped := make(chan struct{})
		go func() { g.GracefulStop(); close(stopped) }()
		select {
		case <-stopped:
		case <-ctx.Done():
			g.Stop()
			<-stopped
		}
	})
	done.Wait()
}
