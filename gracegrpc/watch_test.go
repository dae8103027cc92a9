//go:build linux

package gracegrpc

import (
	"context"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// checksHealth makes a client use a connection only while the server says that it is healthy.
const checksHealth = `{
	"healthCheckConfig": {"serviceName": ""},
	"loadBalancingConfig": [{"round_robin": {}}]
}`

// Clients that watch the health of the service fail no RPC, and do not hold up a drain. Those that
// do it by themselves reach the successor with their next Watch.
func TestWatchersReachTheSuccessor(t *testing.T) {
	s := start(t, config{})
	balanced, err := grpc.NewClient(s.addr, grpc.WithDisableRetry(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(checksHealth))
	if err != nil {
		t.Fatal(err)
	}
	defer balanced.Close()
	l := &load{t: t, addr: s.addr}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(t.Context())
	for range 4 {
		l.start(ctx, "balanced", balanced, unary)
	}
	own := dial(t, s.addr)
	defer own.Close()
	const upgrades = 3
	for n := range upgrades {
		l.goOn()
		w := newWatcher(t, own)
		s.upgrade()
		w.expectEnd()
		if report := s.awaitReport(n + 1); report.Cut || report.Drain > 5*time.Second {
			t.Errorf("generation %d: %+v", n+1, report)
		}
	}
	l.goOn()
	w := newWatcher(t, own)
	calls, failures := l.stop()
	for _, f := range failures {
		t.Error(f)
	}
	t.Logf("%d RPCs", calls)
	s.Signal(syscall.SIGTERM)
	w.expect(healthpb.HealthCheckResponse_NOT_SERVING)
	w.expectEnd()
	s.AwaitCleanEnd()
}
