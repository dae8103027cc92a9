package gracegrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
)

const (
	// settleTime is how long a server goes on when its listeners are closed. GracefulStop at once would close connections that
	// grpc-go has accepted and whose goroutines it has started, but not run yet; their clients' first RPCs would fail.
	settleTime = 200 * time.Millisecond
	// goAwayTime is how long GracefulStop may take to write a GOAWAY on all connections.
	goAwayTime = 100 * time.Millisecond
)

// group has all servers of a Manager. They drain side by side, from the moment on at which the Manager is done: hooks run one after
// another, and a server must not go on accepting until those of others have returned.
type group struct {
	m        *grace.Manager
	draining chan struct{} // closed when all clients were told
	begin    func()        // begins the drain, once

	mu      sync.Mutex
	servers map[*grpc.Server]*server // none is added after begin
}

// groups are those of the Managers that have not drained.
var groups = struct {
	mu sync.Mutex
	of map[*grace.Manager]*group
}{of: make(map[*grace.Manager]*group)}

// groupOf gives the group of a Manager. The first call adds its hook.
func groupOf(m *grace.Manager) *group {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	if g := groups.of[m]; g != nil {
		return g
	}
	g := &group{m: m, draining: make(chan struct{}), servers: make(map[*grpc.Server]*server)}
	g.begin = sync.OnceFunc(g.drain)
	m.Append(grace.Hook{Name: "gracegrpc", OnDrain: g.finish})
	groups.of[m] = g
	go func() { // ends with the service
		<-m.Done()
		g.begin()
	}()
	return g
}

func (g *group) serve(srv *grpc.Server, ln net.Listener) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if cause := g.m.Cause(); cause != nil {
		return fmt.Errorf("gracegrpc: serve %s: this process drains: %w", ln.Addr(), cause)
	}
	s := g.servers[srv]
	if s == nil {
		s = &server{Server: srv, drained: make(chan struct{})}
		g.servers[srv] = s
	}
	s.listeners = append(s.listeners, ln)
	g.m.Go(func() error { return g.served(ln, srv.Serve(ln)) })
	return nil
}

// served returns the error of a server, unless it is what follows from the drain.
func (g *group) served(ln net.Listener, err error) error {
	if err != nil && g.m.Cause() == nil {
		return fmt.Errorf("gracegrpc: serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// drain is called once, when the Manager is done.
func (g *group) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.servers {
		s.closeListeners()
	}
	go g.sendAway() // ends soon
}

// sendAway tells the clients to open new connections, and then the handlers.
func (g *group) sendAway() {
	g.pause(settleTime)
	for _, s := range g.servers {
		go s.drain() // ends with the last RPC
	}
	g.pause(goAwayTime)
	groups.mu.Lock()
	delete(groups.of, g.m)
	groups.mu.Unlock()
	close(g.draining)
}

func (g *group) pause(d time.Duration) {
	if len(g.servers) > 0 {
		time.Sleep(d)
	}
}

// finish is the OnDrain hook.
func (g *group) finish(ctx context.Context) error {
	g.begin()
	results := make(chan error, len(g.servers))
	for _, s := range g.servers {
		go func() { // ends soon after ctx
			report, err := s.finish(ctx)
			g.m.Report(report)
			results <- err
		}()
	}
	var errs []error
	for range g.servers {
		errs = append(errs, <-results)
	}
	<-g.draining // soon
	return errors.Join(errs...)
}
