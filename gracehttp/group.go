package gracehttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-grace/grace"
)

// group holds all servers of a Manager. It has one hook for all of them: hooks run one after
// another, and a server must not keep accepting until another one is drained.
type group struct {
	m         *grace.Manager
	connected atomic.Bool      // some client has connected to this process
	begin     func() []*server // begins the drain, once, and returns the servers

	mu       sync.Mutex
	servers  map[*http.Server]*server
	draining bool
}

// groups holds the groups of the Managers that have not drained.
var groups = struct {
	mu sync.Mutex
	of map[*grace.Manager]*group
}{of: make(map[*grace.Manager]*group)}

// groupOf returns the group of a Manager. The first call adds its hook.
func groupOf(m *grace.Manager) *group {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	if g := groups.of[m]; g != nil {
		return g
	}
	g := &group{m: m, servers: make(map[*http.Server]*server)}
	g.begin = sync.OnceValue(g.close)
	select {
	case <-m.Done():
		g.draining = true // its hook would no longer run, and nobody would forget the group
	default:
		groups.of[m] = g
		m.Append(grace.Hook{Name: "gracehttp", OnDrain: g.drain})
		go func() { // ends with the service; other hooks may take their time before ours runs
			<-m.Done()
			g.begin()
		}()
	}
	return g
}

// add adds a listener to a server, and the server to the group.
func (g *group) add(
	srv *http.Server, ln net.Listener, secure bool, set settings,
) (*server, *listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return nil, nil, fmt.Errorf("gracehttp: serve %s: this process is draining: %w",
			ln.Addr(), g.m.Cause())
	}
	s := g.servers[srv]
	if s == nil {
		s = newServer(g, srv)
		g.servers[srv] = s
	}
	return s, s.listen(ln, secure, set), nil
}

// drain is the OnDrain hook.
func (g *group) drain(ctx context.Context) error {
	servers := g.begin()
	results := make(chan error, len(servers))
	for _, s := range servers {
		go func() { results <- s.drain(ctx) }() // ends soon after ctx
	}
	var errs []error
	for range servers {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// close lets no more servers in and returns those of the group. If there is a successor, they stop
// accepting.
func (g *group) close() []*server {
	groups.mu.Lock()
	delete(groups.of, g.m)
	groups.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	servers := make([]*server, 0, len(g.servers))
	for _, s := range g.servers {
		servers = append(servers, s)
	}
	if errors.Is(g.m.Cause(), grace.ErrUpgraded) {
		for _, s := range servers {
			s.begin(true)
		}
	}
	return servers
}
