//go:build linux

package gracehttp

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace"
)

// connStates are the states that the owner's ConnState has seen of each connection.
type connStates struct {
	onNew func(net.Conn) // may be nil

	mu     sync.Mutex
	byConn map[net.Conn][]http.ConnState
}

func (s *connStates) note(nc net.Conn, state http.ConnState) {
	s.mu.Lock()
	if s.byConn == nil {
		s.byConn = make(map[net.Conn][]http.ConnState)
	}
	s.byConn[nc] = append(s.byConn[nc], state)
	s.mu.Unlock()
	if state == http.StateNew && s.onNew != nil {
		s.onNew(nc)
	}
}

// all returns the states, those of different connections apart and in order.
func (s *connStates) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for states := range maps.Values(s.byConn) {
		all = append(all, fmt.Sprint(states))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (s *connStates) await(t *testing.T, want ...string) {
	t.Helper()
	all := strings.Join(want, ", ")
	eventually(t, "seen as "+all, func() bool { return s.all() == all })
}

// The owner's ConnState sees each connection once as new, while nothing has arrived on it yet, and
// once as closed, whatever its end is. It sees the same connection in all states.
func TestOwnerSeesConnectionsThatWait(t *testing.T) {
	const waits, closed, used = "[new]", "[new closed]", "[new active idle closed]"
	for name, c := range map[string]struct {
		timeout time.Duration // for the header
		end     func(*node, *connection)
		want    string
	}{
		"closed by its client": {
			end: func(_ *node, c *connection) { c.Close() }, want: closed,
		},
		"silent for too long": {
			timeout: time.Second,
			end:     func(_ *node, c *connection) { c.isCut() }, want: closed,
		},
		"transferred": {
			end: func(n *node, _ *connection) {
				n.transferTo(taken)
				n.finish(n.drainAfterUpgrade())
			},
			want: closed,
		},
		"closed by the owner's server": {
			end: func(n *node, c *connection) {
				n.Close()
				c.isCut()
			},
			want: closed,
		},
		"used": {
			end: func(_ *node, c *connection) {
				c.get("/")
				c.Close()
			},
			want: used,
		},
		"not taken by the successor, and used": {
			end: func(n *node, c *connection) {
				n.transferTo(func(context.Context, string, syscall.Conn, []byte) error {
					return grace.ErrNoSuccessor
				})
				drained := n.drainAfterUpgrade()
				eventually(n.t, "refused", func() bool { return len(n.ln.idleConns()) == 0 })
				c.get("/")
				c.Close()
				n.finish(drained)
			},
			want: "[new active closed]",
		},
	} {
		for kind, opts := range withAndWithoutHandover {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				seen := &connStates{}
				srv := &http.Server{Handler: names("old"), ConnState: seen.note}
				srv.ReadHeaderTimeout = c.timeout
				n := newNode(t, srv, slices.Concat(opts, []Option{WithIdleGrace(patience)})...)
				client := n.dial()
				seen.await(t, waits)
				c.end(n, client)
				seen.await(t, c.want)
				n.Close()
				within(t, "end of Serve", n.done)
				seen.await(t, c.want)
			})
		}
	}
}

// So it does with a connection on which something has arrived when the server is closed, and which
// http.Server has not accepted yet.
func TestOwnerSeesConnectionsNeverAccepted(t *testing.T) {
	seen := &connStates{}
	busy, free := make(chan struct{}, 2), make(chan struct{})
	n := newNode(t, &http.Server{
		ConnState: seen.note,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			busy <- struct{}{}
			<-free
			return ctx
		},
	})
	release := sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	first := n.dial()
	first.send("G")
	within(t, "connection", busy)
	second := n.dial()
	second.send("G")
	eventually(t, "about to be accepted", func() bool {
		return seen.all() == "[new], [new]" && len(n.ln.idleConns()) == 0
	})
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }() // ends with Serve
	second.isCut()
	seen.await(t, "[new closed]", "[new]")
	first.Close()
	release()
	if err := within(t, "end of Close", closed); err != nil {
		t.Error(err)
	}
	within(t, "end of Serve", n.done)
}

// So it does with a connection that the previous process has handed over.
func TestOwnerSeesAdoptedConnections(t *testing.T) {
	seen := &connStates{}
	n := newNode(t, &http.Server{Handler: names("new"), ConnState: seen.note})
	ours, client := pair(t)
	n.ln.adopt(ours, nil)
	seen.await(t, "[new]")
	client.get("/")
	client.Close()
	seen.await(t, "[new active idle closed]")
}

// The owner's ConnState may close a connection at once.
func TestConnStateThatCloses(t *testing.T) {
	for kind, opts := range withAndWithoutHandover {
		t.Run(kind, func(t *testing.T) {
			seen := &connStates{onNew: func(nc net.Conn) { nc.Close() }}
			n := newNode(t, &http.Server{Handler: names("old"), ConnState: seen.note}, opts...)
			n.dial().isCut()
			seen.await(t, "[new closed]")
		})
	}
}

// A ConnState that bounds the number of connections may close them at once. It counts those that
// only wait.
func TestConnStateThatBoundsConnections(t *testing.T) {
	const most = 3
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	srv := &http.Server{Handler: names("old")}
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			open[nc] = true
			if len(open) > most {
				nc.Close()
			}
		case http.StateClosed:
			if !open[nc] {
				t.Error("a connection is closed that was never new, or for a second time")
			}
			delete(open, nc)
		}
	}
	n := newNode(t, srv)
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(open)
	}
	var admitted []*connection
	for i := range most {
		admitted = append(admitted, n.dial())
		eventually(t, "open", func() bool { return count() == i+1 })
	}
	for range 2 * most {
		n.dial().isCut()
	}
	eventually(t, "bounded", func() bool { return count() == most })
	admitted[0].Close()
	eventually(t, "free", func() bool { return count() == most-1 })
	for _, c := range append(admitted[1:], n.dial()) {
		if body, last := c.get("/"); body != "old" || last {
			t.Errorf("got %q, last: %t", body, last)
		}
	}
}

// types are the types of the connections that the owner of a server has seen.
type types struct {
	mu   sync.Mutex
	seen []string
}

func (ts *types) note(in string, nc net.Conn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if seen := fmt.Sprintf("%s: %T", in, nc); !slices.Contains(ts.seen, seen) {
		ts.seen = append(ts.seen, seen)
	}
}

// Connections may be of a type that cannot be compared. The owner sees them as they are.
func TestConnectionsThatCannotBeCompared(t *testing.T) {
	for name, protocols := range map[string]*http.Protocols{
		"HTTP/1": http1Only(), "HTTP/2": http2Only(),
	} {
		t.Run(name, func(t *testing.T) {
			seen := &types{}
			want := []string{"ConnContext: gracehttp.tagged", "ConnState: gracehttp.tagged"}
			srv := &http.Server{
				Protocols: protocols,
				ConnState: func(nc net.Conn, _ http.ConnState) { seen.note("ConnState", nc) },
				ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
					seen.note("ConnContext", nc)
					return ctx
				},
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if h, ok := w.(http.Hijacker); ok {
						takeOver(t, h, seen)
						return
					}
					_, _ = io.WriteString(w, "hello")
				}),
			}
			ln := wrappingListener{listen(t), wrappers["tagged"]}
			n := serveNode(t, srv, ln, WithIdleGrace(0))
			transport := &http.Transport{Protocols: protocols}
			body, _, err := fetch(t, transport, get(t, "http://"+n.ln.Addr().String()))
			if body != "hello" || err != nil {
				t.Errorf("got %q, %v", body, err)
			}
			n.finish(n.drainAfterUpgrade())
			if protocols.HTTP1() {
				want = append(want, "Hijack: gracehttp.tagged")
			}
			seen.mu.Lock()
			defer seen.mu.Unlock()
			if slices.Sort(seen.seen); !slices.Equal(seen.seen, want) {
				t.Errorf("seen: %q", seen.seen)
			}
		})
	}
}

func takeOver(t *testing.T, h http.Hijacker, seen *types) {
	nc, _, err := h.Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	seen.note("Hijack", nc)
	_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
}
