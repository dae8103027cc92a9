package gracehttp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// wrapper is a listener like that of netutil.LimitListener.
type wrapper struct{ net.Listener }

// advertised is a wrapper that claims to have another address.
type advertised struct{ net.Listener }

func (advertised) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// opener opens a listener, with the Manager or without it.
type opener func(context.Context, *grace.Manager) (net.Listener, error)

func own(network, address string) opener {
	return func(ctx context.Context, m *grace.Manager) (net.Listener, error) {
		return m.Listen(ctx, network, address)
	}
}

func ownBare(ctx context.Context, m *grace.Manager) (net.Listener, error) {
	return m.ListenTCP(ctx, "tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
}

func ofNet(network, address string) opener {
	return func(context.Context, *grace.Manager) (net.Listener, error) {
		return net.Listen(network, address)
	}
}

func (open opener) in(wrap func(net.Listener) net.Listener) opener {
	return func(ctx context.Context, m *grace.Manager) (net.Listener, error) {
		ln, err := open(ctx, m)
		return wrap(ln), err
	}
}

func limit(ln net.Listener) net.Listener     { return &wrapper{ln} }
func advertise(ln net.Listener) net.Listener { return advertised{ln} }
func secure(ln net.Listener) net.Listener    { return tls.NewListener(ln, &tls.Config{}) }

// A listener that the Manager has not opened is reported, and one that it has opened is not,
// whatever wraps them.
func TestForeignListener(t *testing.T) {
	const any0, port0 = ":0", "127.0.0.1:0"
	dir := shortDir(t)
	path, other := filepath.Join(dir, "own"), filepath.Join(dir, "other")
	for name, c := range map[string]struct {
		open    opener
		foreign bool
	}{
		"own":                      {open: own("tcp", port0)},
		"own, of any address":      {open: own("tcp", any0)},
		"own, of package net":      {open: ownBare},
		"own, unix":                {open: own("unix", path)},
		"own, wrapped":             {open: own("tcp", port0).in(limit)},
		"own, unix, wrapped":       {open: own("unix", path).in(limit)},
		"own, TLS":                 {open: own("tcp", port0).in(secure)},
		"own, wrapped, TLS":        {open: own("tcp", port0).in(limit).in(secure)},
		"own, advertised":          {open: own("tcp", port0).in(advertise)},
		"foreign":                  {open: ofNet("tcp", port0), foreign: true},
		"foreign, of any address":  {open: ofNet("tcp", any0), foreign: true},
		"foreign, unix":            {open: ofNet("unix", other), foreign: true},
		"foreign, wrapped":         {open: ofNet("tcp", port0).in(limit), foreign: true},
		"foreign, TLS":             {open: ofNet("tcp", port0).in(secure), foreign: true},
		"foreign, wrapped, TLS":    {open: ofNet("tcp", port0).in(limit).in(secure), foreign: true},
		"foreign, without sockets": {open: inMemory},
	} {
		t.Run(name, func(t *testing.T) {
			var seen foreigners
			m := managertest.New(t, grace.WithObserver(&seen))
			other, err := m.Listen(t.Context(), "tcp", port0)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			ln, err := c.open(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{}
			if err := Start(m, srv, ln, WithIdleGrace(0)); err != nil {
				t.Fatal(err)
			}
			seen.check(t, c.foreign, srv, ln.Addr())
			if err := m.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func inMemory(context.Context, *grace.Manager) (net.Listener, error) {
	return pipenet.Listen(), nil
}

// foreigners records the listeners that were reported.
type foreigners struct {
	mu  sync.Mutex
	all []ForeignListener
}

func (f *foreigners) Observe(_ context.Context, rec graceevent.Record) {
	if e, ok := rec.Event.(ForeignListener); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.all = append(f.all, e)
	}
}

// check compares the reports with the expected one.
func (f *foreigners) check(t *testing.T, want bool, srv *http.Server, addr net.Addr) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !want && len(f.all) > 0:
		t.Errorf("reported: %+v", f.all)
	case want && len(f.all) != 1:
		t.Errorf("%d reports", len(f.all))
	case want:
		r := f.all[0]
		level, message, attrs := r.Describe()
		if r.Server != srv || r.Addr.String() != addr.String() || level != slog.LevelWarn ||
			!strings.Contains(message, "open it with Manager.Listen") || len(attrs) != 1 {
			t.Errorf("%+v is described as %v %q %v", r, level, message, attrs)
		}
	}
}

// Nothing is said about a listener in a process that drains: the Manager may have closed it.
func TestForeignListenerDuringTheDrain(t *testing.T) {
	var seen foreigners
	m := managertest.New(t, grace.WithObserver(&seen))
	ln, srv := listen(t), &http.Server{}
	defer ln.Close()
	reportForeign(m, srv, ln)
	seen.check(t, true, srv, ln.Addr())
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen.all = nil
	reportForeign(m, srv, ln)
	seen.check(t, false, srv, ln.Addr())
}
