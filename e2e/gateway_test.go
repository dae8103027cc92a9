//go:build linux

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/gracehttp"
)

// inEachGateway runs a test for each way in which a gateway reaches the gRPC server of its process.
func inEachGateway(t *testing.T, test func(t *testing.T, inMemory bool)) {
	ways := map[string]bool{"TCP": false, "in memory": true}
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		t.Run(name, func(t *testing.T) { test(t, ways[name]) })
	}
}

// While the process of a gateway is replaced, each request has its answer, however late it comes on
// a connection to the old process.
func TestGatewayNoticesNoUpgrade(t *testing.T) {
	inEachGateway(t, func(t *testing.T, inMemory bool) {
		s := start(t, config{Busy: 100, Gateway: &gatewayConfig{InMemory: inMemory}})
		ctx, l := newLoad(t)
		for i := range 40 {
			c := &client{addr: s.plain, method: http.MethodGet, path: "/", fresh: i%4 == 0}
			l.running.Go(func() { // ends with ctx
				defer c.hangUp()
				l.askWithPauses(ctx, c, time.Duration(i)*25*time.Millisecond)
			})
		}
		s.upgradeTenTimes()
		l.checkWith(s)
	})
}

// askWithPauses sends requests until the context ends.
func (l *load) askWithPauses(ctx context.Context, c *client, pause time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		l.count("a client that pauses for "+pause.String(), c.ask(fmt.Sprint("request-", n)))
		time.Sleep(pause)
	}
}

// When the process of a gateway is stopped, each request on its connections has its answer. The
// last one of each client comes up to two seconds after the begin of the drain, and says so.
func TestGatewayStops(t *testing.T) {
	inEachGateway(t, func(t *testing.T, inMemory bool) {
		for _, delay := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprint("after ", delay), func(t *testing.T) {
				g := &gatewayConfig{InMemory: inMemory, StopDelay: delay}
				s := start(t, config{Busy: 100, Gateway: g})
				_, l := newLoad(t)
				for i := range 100 {
					c := &client{addr: s.plain, method: http.MethodGet, path: "/"}
					l.running.Go(func() { // ends with the connection
						defer c.hangUp()
						l.askUntilLast(c, time.Duration(i)*20*time.Millisecond)
					})
				}
				s.awaitOf(1, "busy")
				s.Signal(syscall.SIGTERM)
				sent, failures := l.stop()
				for _, f := range failures {
					t.Error(f)
				}
				t.Logf("%d requests", sent)
				s.AwaitCleanEnd()
			})
		}
	})
}

// askUntilLast sends requests on one connection until an answer says that it is the last.
func (l *load) askUntilLast(c *client, pause time.Duration) {
	for n := 0; ; n++ {
		last, err := c.exchange(fmt.Sprint("request-", n))
		l.count("a client that pauses for "+pause.String(), err)
		if last || err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// The gRPC server drains after the HTTP server if nobody else can answer its handlers. After an
// upgrade over TCP the successor can, and the clients of gRPC are told to move at once.
func TestGatewayDrainsInOrder(t *testing.T) {
	inEachGateway(t, func(t *testing.T, inMemory bool) {
		s := start(t, config{Busy: 1, Gateway: &gatewayConfig{InMemory: inMemory}})
		idle := func() *client { // holds the HTTP server for the grace period
			c := &client{addr: s.plain, method: http.MethodGet, path: "/"}
			if err := c.ask("request"); err != nil {
				t.Fatal(err)
			}
			return c
		}
		defer idle().hangUp()
		s.Upgrade()
		s.awaitOf(1, "left")
		defer idle().hangUp()
		s.Signal(syscall.SIGTERM)
		s.AwaitCleanEnd()
		if s.drainsGRPCFirst(1) == inMemory {
			t.Error("the order after the upgrade is wrong")
		}
		if s.drainsGRPCFirst(2) {
			t.Error("in the stop, the gRPC server has not waited")
		}
	})
}

// drainsGRPCFirst reports whether the gRPC server of a generation drained in the grace period of
// the HTTP server.
func (s *service) drainsGRPCFirst(generation int) bool {
	s.t.Helper()
	http, grpc := s.awaitOf(generation, "DrainReport"), s.awaitOf(generation, "gRPC drained")
	if http.Duration < gracehttp.DefaultIdleGrace {
		s.t.Errorf("the HTTP server drained in %v", http.Duration)
	}
	return grpc.Duration < http.Duration
}
