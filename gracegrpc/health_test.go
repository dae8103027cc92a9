package gracegrpc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// newHealthRig starts a server with a health service, which is used by way of Health or as it is.
func newHealthRig(t *testing.T, bare bool, opts ...grace.Option) *rig {
	t.Helper()
	r := &rig{t: t, Listener: pipenet.Listen()}
	r.Manager = managertest.New(t, append(opts, grace.WithObserver(r))...)
	srv, h := newTestServer(r.Manager), health.NewServer()
	var service healthpb.HealthServer = h
	if !bare {
		service = Health(r.Manager, h)
	}
	healthpb.RegisterHealthServer(srv, service)
	if err := Start(r.Manager, srv, r.Listener); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// watcher is a client that does not hang up by itself when it is told to open a new connection.
type watcher struct {
	t      *testing.T
	stream healthpb.Health_WatchClient
}

func newWatcher(t *testing.T, cc grpc.ClientConnInterface) watcher {
	t.Helper()
	req := &healthpb.HealthCheckRequest{}
	stream, err := healthpb.NewHealthClient(cc).Watch(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	w := watcher{t, stream}
	w.expect(healthpb.HealthCheckResponse_SERVING)
	return w
}

func (w watcher) expect(want healthpb.HealthCheckResponse_ServingStatus) {
	w.t.Helper()
	if resp, err := w.stream.Recv(); err != nil || resp.Status != want {
		w.t.Errorf("the watcher heard %v, %v", resp, err)
	}
}

func (w watcher) expectEnd() {
	w.t.Helper()
	if resp, err := w.stream.Recv(); status.Code(err) != codes.Unavailable {
		w.t.Errorf("the watcher heard %v, and the end is %v", resp, err)
	}
}

// Somebody who watches the health of a server does not hold up its drain, unless the service is
// used without Health.
func TestWatchEndsWithTheDrain(t *testing.T) {
	for _, bare := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newHealthRig(t, bare)
			c := newClient(t, r.Listener)
			defer c.Close()
			w := newWatcher(t, c)
			result := r.drain()
			if bare {
				(<-result).check(t, grace.DefaultDrainTimeout, true)
				w.expectEnd()
				return
			}
			w.expect(healthpb.HealthCheckResponse_NOT_SERVING)
			w.expectEnd()
			d := <-result
			if d.took != settleTime+goAwayTime || d.Cut || d.err != nil {
				t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
			}
		})
	}
}

// During the stop delay the server says that it should not be used, and serves.
func TestHealthDuringTheStopDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHealthRig(t, false, grace.WithStopDelay(10*time.Second))
		c := newClient(t, r.Listener)
		defer c.Close()
		w := newWatcher(t, c)
		result, began := r.drain(), time.Now()
		w.expect(healthpb.HealthCheckResponse_NOT_SERVING)
		if took := time.Since(began); took > 0 {
			t.Errorf("the watcher learns of the stop after %v", took)
		}
		resp, err := healthpb.NewHealthClient(c).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil || resp.Status != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("a check said %v, %v", resp, err)
		}
		if err := <-c.call(5); err != nil {
			t.Errorf("during the delay: %v", err)
		}
		if d := <-result; d.err != nil || d.Cut {
			t.Errorf("the drain: %+v, %v", d.DrainReport, d.err)
		}
		w.expectEnd()
	})
}

// A watcher that hangs up before the drain gets its own error, and leaves nothing behind.
func TestWatcherThatHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHealthRig(t, false)
		c := newClient(t, r.Listener)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := healthpb.NewHealthClient(c).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		watcher{t, stream}.expect(healthpb.HealthCheckResponse_SERVING)
		cancel()
		if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
			t.Errorf("the end is %v", err)
		}
		c.Close()
		if d := <-r.drain(); d.Cut || d.err != nil {
			t.Errorf("the drain: %+v, %v", d.DrainReport, d.err)
		}
	})
}
