package gracegrpc

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
)

// recorder has all events of a Manager.
type recorder struct {
	mu     sync.Mutex
	events []graceevent.Event
}

func (r *recorder) Observe(_ context.Context, rec graceevent.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, rec.Event)
}

// of returns the events of one type.
func of[E graceevent.Event](r *recorder) (found []E) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// A listener that the Manager has not opened is reported, and its own is not.
func TestForeignListener(t *testing.T) {
	var seen recorder
	m := managertest.New(t, grace.WithObserver(&seen))
	own, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	for _, ln := range []net.Listener{own, foreign} {
		if err := Start(m, srv, ln); err != nil {
			t.Fatal(err)
		}
	}
	found := of[ForeignListener](&seen)
	if len(found) != 1 || found[0].Server != srv || found[0].Addr != foreign.Addr() {
		t.Fatalf("reported: %+v", found)
	}
	if level, message, _ := found[0].Describe(); level != slog.LevelWarn ||
		!strings.HasPrefix(message, "gRPC listener was not opened by grace") {
		t.Errorf("it is described as %v %q", level, message)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// tcpAddr is where a server listens.
type tcpAddr struct{ net.Addr }

func (a tcpAddr) Dial() (net.Conn, error) { return net.Dial("tcp", a.String()) }

// Stop closes no connection while a client has not finished its handshake. The Manager counts the
// connections that are still open then, and none if Stop has done its work.
func TestConnectionsThatStopLeavesAreCounted(t *testing.T) {
	for name, silent := range map[string]bool{"all clients speak": false, "one is silent": true} {
		t.Run(name, func(t *testing.T) {
			var seen recorder
			timeout := time.Minute // Stop has all the time that it needs
			if silent {
				timeout = time.Second
			}
			m := managertest.New(t, grace.WithObserver(&seen), grace.WithDrainTimeout(timeout))
			addr := startCut(t, m, timeout)
			if silent {
				conn, err := addr.Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
			c := newClient(t, addr)
			defer c.Close()
			c.follow(c.stubborn)
			if err := <-c.call(0); err != nil { // by then the silent client is accepted too
				t.Fatal(err)
			}
			if err := m.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if reports := of[DrainReport](&seen); len(reports) != 1 || !reports[0].Cut {
				t.Errorf("the reports are %+v", reports)
			}
			ends := of[graceevent.DrainFinished](&seen)
			if len(ends) != 1 || ends[0].CutConnections() > 0 != silent {
				t.Errorf("the Manager counts %+v", ends)
			}
		})
	}
}

// startCut starts a server that the drain cuts at once, and grants it some time for that.
func startCut(t *testing.T, m *grace.Manager, stopTime time.Duration) tcpAddr {
	t.Helper()
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(newGroup(m), newTestServer(m))
	s.listeners, s.stopTime = []net.Listener{ln}, stopTime
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	m.Append(grace.Hook{OnDrain: func(context.Context) error { return s.onDrain(ended) }})
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln) //nolint:errcheck // until the drain
	return tcpAddr{ln.Addr()}
}
