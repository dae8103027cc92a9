//go:build linux

package gracehttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
)

// node is a server with sockets in this process. Another node can take what its drain transfers.
type node struct {
	*server
	t    *testing.T
	ln   *listener
	done chan struct{} // closed when nothing is served any longer
	reports
}

// reports are the events of this package that a Manager has told.
type reports struct {
	mu  sync.Mutex
	all []graceevent.Event
}

func (r *reports) Observe(_ context.Context, rec graceevent.Record) {
	switch e := rec.Event.(type) {
	case DrainReport, IdleHandoverOff, ForeignListener:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, e)
	}
}

// newNode starts a server on the loopback interface. It ends with the test.
func newNode(t *testing.T, srv *http.Server, opts ...Option) *node {
	t.Helper()
	return serveNode(t, srv, listen(t), opts...)
}

func serveNode(t *testing.T, srv *http.Server, ln net.Listener, opts ...Option) *node {
	t.Helper()
	set, err := newSettings(opts)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, done: make(chan struct{})}
	m := managertest.New(t, grace.WithObserver(&n.reports))
	n.server = newServer(m, srv)
	if n.ln, err = n.listen(ln, false, set); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the server
		defer close(n.done)
		if err := n.served(n.ln, srv.Serve(n.ln)); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		srv.Close()
		<-n.done
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// take takes a connection in the way of Manager.Transfer and HandleTransfers.
func (n *node) take(_ context.Context, _ string, c syscall.Conn, state []byte) error {
	ours, err := copyOf(c)
	if err != nil {
		return err
	}
	go n.ln.adopt(ours, state) // ends at once
	return nil
}

// judge sets the rule that tells when connections are idle.
func (n *node) judge(rule idleRule) {
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	n.idleRule = rule
}

// transferTo sets the function that takes transfers.
func (n *node) transferTo(take sendFunc) {
	n.transfers.send = take
}

// drainAfterUpgrade drains as if a successor served.
func (n *node) drainAfterUpgrade() <-chan error {
	n.begin(true)
	result := make(chan error, 1)
	go func() { // ends with the drain
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		result <- n.drain(ctx)
	}()
	return result
}

// finish waits for the drain.
func (n *node) finish(result <-chan error) {
	n.t.Helper()
	if err := within(n.t, "end of the drain", result); err != nil {
		n.t.Error(err)
	}
	n.checkDrained()
}

// checkDrained looks for connections that a drain could leave behind.
func (n *node) checkDrained() {
	n.t.Helper()
	_, left := n.conns.count()
	if awake, held := len(n.transfers.awake), len(n.ln.idleConns()); left+awake+held > 0 {
		n.t.Errorf("%d connections are left, %d held, %d awake", left, held, awake)
	}
}

// dial connects a client.
func (n *node) dial() *connection { return dial(n.t, "tcp", n.ln.Addr().String()) }

func dial(t testing.TB, network, addr string) *connection {
	t.Helper()
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &connection{t: t, Conn: c, reader: bufio.NewReader(c)}
}

// pair returns both ends of a connection.
func pair(t *testing.T) (server net.Conn, client *connection) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	client = dial(t, "tcp", ln.Addr().String())
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server, client
}

// copyOf returns another connection of the same socket.
func copyOf(c syscall.Conn) (net.Conn, error) {
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileConn(f)
}

// within waits for a value.
func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("no %s after %v", what, patience)
	}
	return v
}

// eventually waits until holds returns true.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s after %v", what, patience)
		}
	}
}

// names returns a handler that responds with a name.
func names(who string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, who)
	})
}
