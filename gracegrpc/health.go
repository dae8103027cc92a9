package gracegrpc

import (
	"context"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/go-grace/grace"
)

// HealthServer is a health service. That of [google.golang.org/grpc/health] is one.
type HealthServer interface {
	healthpb.HealthServer
	// Shutdown sets the status of all services to NOT_SERVING.
	Shutdown()
}

// Health returns a health service that answers like h, and takes part in the drain. Register it
// instead of h:
//
//	h := health.NewServer()
//	healthpb.RegisterHealthServer(srv, gracegrpc.Health(m, h))
//
// When the service begins to stop without a successor, before the delay of [grace.WithStopDelay],
// Health calls Shutdown of h, so that load balancers notice. In an upgrade the status remains what
// it is. Clients within the process should not check the health: the server still serves them.
//
// A Watch ends with the status Unavailable when [Draining] is closed: its client watches the
// successor then. Without Health, a client that does not hang up by itself holds the drain until
// its deadline, because grpc-go ends a Watch only with its connection.
func Health(m *grace.Manager, h HealthServer) healthpb.HealthServer {
	draining := Draining(m)
	m.Go(func() error { // ends with the drain
		select {
		case <-m.Stopping():
			h.Shutdown()
		case <-draining:
		}
		return nil
	})
	return &healthServer{HealthServer: h, draining: draining}
}

type healthServer struct {
	healthpb.HealthServer
	draining <-chan struct{}
}

// errDraining makes clients watch again. They take Unimplemented alone for an end.
var errDraining = status.Error(codes.Unavailable, "this process drains: watch the next one")

// Watch implements [healthpb.HealthServer].
func (s *healthServer) Watch(
	req *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer,
) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	go func() { // ends with the Watch
		select {
		case <-s.draining:
			cancel(errDraining)
		case <-ctx.Done():
		}
	}()
	err := s.HealthServer.Watch(req, &watch{Health_WatchServer: stream, ctx: ctx})
	if cause := context.Cause(ctx); cause == errDraining { //nolint:errorlint // it is our own
		return cause
	}
	return err
}

// watch is the stream of a Watch that ends with the drain.
type watch struct {
	healthpb.Health_WatchServer
	ctx context.Context //nolint:containedctx // it is that of the stream
}

func (w *watch) Context() context.Context { return w.ctx }
