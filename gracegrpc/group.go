package gracegrpc

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/foreign"
	"github.com/go-grace/grace/internal/registry"
)

// group is the servers of a Manager. Each has a hook of its own; that of the group tells the
// handlers.
type group struct {
	m        *grace.Manager
	draining chan struct{} // closed when all clients were told
	end      func()        // closes draining, once

	mu      sync.Mutex
	servers map[*grpc.Server]*server
}

// groups are those of the Managers whose clients were not told.
var groups registry.Registry[*grace.Manager, *group]

// groupOf returns the group of a Manager. The first call adds its hook. In a process that drains
// it may be too late for the hook, and there is nothing to wait for.
func groupOf(m *grace.Manager) *group {
	return groups.Of(m, func() (*group, bool) {
		g := newGroup(m)
		m.Append(grace.Hook{Name: "gracegrpc.Draining", OnDrain: g.onDrain})
		if m.Cause() == nil {
			return g, true
		}
		g.end()
		return g, false
	})
}

func newGroup(m *grace.Manager) *group {
	draining := make(chan struct{})
	return &group{
		m: m, draining: draining, end: sync.OnceFunc(func() { close(draining) }),
		servers: make(map[*grpc.Server]*server),
	}
}

// start starts to serve a listener, unless the process is draining. While Cause returns nil, the
// hooks are still to run, and will find the listener.
func (g *group) start(srv *grpc.Server, ln net.Listener) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.servers[srv]
	if s == nil {
		s = newServer(g, srv)
		g.m.Append(grace.Hook{Name: "gracegrpc", OnDrain: s.onDrain})
	}
	if cause := g.m.Cause(); cause != nil {
		return fmt.Errorf("gracegrpc: serve %s: this process is draining: %w", ln.Addr(), cause)
	}
	g.servers[srv] = s
	s.listeners = append(s.listeners, ln)
	s.private = s.private || !foreign.IsOwn(ln.Addr(), g.m.Status().Sockets)
	g.m.Go(func() error { return s.served(ln, srv.Serve(ln)) })
	return nil
}

// all returns the servers. When the hooks run, none can be added.
func (g *group) all() []*server {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.servers))
}

// onDrain is an OnDrain hook. It tells the handlers when all servers have told their clients. If a
// listener of their owner hangs while it is closed, that is at the deadline.
func (g *group) onDrain(ctx context.Context) error {
	for _, s := range g.all() {
		select {
		case <-s.told:
		case <-ctx.Done():
		}
	}
	groups.Forget(g.m)
	g.end()
	return nil
}
