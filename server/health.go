package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"intaglio.example/keyring"
)

// ready is nil while this replica can sign from a fresh snapshot. Its message is safe to show to anybody.
func (s *Server) ready() error {
	_, err := s.live.Current()
	switch {
	case s.draining.Load():
		return errors.New("draining")
	case errors.Is(err, keyring.ErrStale):
		return errors.New("the snapshot is stale")
	case err != nil:
		return errors.New("the store is refused; see the log")
	}
	return nil
}

// health is grpc.health.v1.Health for the server as a whole. Any client whose certificate names
// somebody may ask.
type health struct {
	healthpb.UnimplementedHealthServer
	*Server
}

func (h *health) status() healthpb.HealthCheckResponse_ServingStatus {
	if h.ready() != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}

// Check answers once.
func (h *health) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: h.status()}, nil
}

// Watch answers at once, then whenever the answer changes, within a second.
func (h *health) Watch(_ *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := healthpb.HealthCheckResponse_UNKNOWN
	for {
		if now := h.status(); now != last {
			last = now
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick.C:
		}
	}
}
