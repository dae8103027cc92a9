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

// group has all servers of a Manager. It has one hook for them: hooks run one after another, and a server must not go on
// accepting until another one is drained.
type group struct {
	m         *grace.Manager
	connected atomic.Bool      // some client has found this process
	begin     func() []*server // begins the drain, once, and gives the servers

	mu       sync.Mutex
	servers  map[*http.Server]*server
	draining bool
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
	g := &group{m: m, servers: make(map[*http.Server]*server)}
	g.begin = sync.OnceValue(g.close)
	select {
	case <-m.Done():
		g.draining = true // its hook would not run any more, and nobody would forget it
	default:
		groups.of[m] = g
		m.Append(grace.Hook{Name: "gracehttp", OnDrain: g.drain})
		go func() { // ends with the service; hooks run one after another, and clients should not come here while another one takes its time
			<-m.Done()
			g.begin()
		}()
	}
	return g
}

// add makes a listener one that a server serves.
func (g *group) add(srv *http.Server, ln net.Listener, secure bool, set settings) (*server, *listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return nil, nil, fmt.Errorf("gracehttp: serve %s: this process drains: %w", ln.Addr(), g.m.Cause())
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

// close takes no more servers, and gives those that there are. If there is a successor, they accept no more.
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
