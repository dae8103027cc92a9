//go:build linux

package gracehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// lastMoment is a listener that returns one more connection while it is being closed.
type lastMoment struct {
	net.Listener
	closing chan struct{}
	taken   bool
}

func (l *lastMoment) Accept() (net.Conn, error) {
	<-l.closing
	if l.taken {
		return nil, net.ErrClosed
	}
	l.taken = true
	return l.Listener.Accept()
}

func (l *lastMoment) Close() error {
	select {
	case <-l.closing:
	default:
		close(l.closing)
	}
	return nil
}

// lateListener returns its second connection only when the test lets it.
type lateListener struct {
	net.Listener
	n         int
	got, late chan struct{}
}

func (l *lateListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if l.n++; err == nil && l.n == 2 {
		close(l.got)
		<-l.late
	}
	return c, err
}

// A silent connection that is accepted after the drain has woken the others does not hold it up.
func TestSilentConnectionFromTheLastMoment(t *testing.T) {
	ln := &lateListener{Listener: listen(t), got: make(chan struct{}), late: make(chan struct{})}
	n := serveNode(t, &http.Server{Handler: names("old")}, ln, WithIdleGrace(time.Second/2))
	n.transferTo(refused)
	kept := n.dial()
	kept.get("/")
	silent := n.dial()
	within(t, "second connection", ln.got)
	n.begin(true)
	n.handOver(t.Context())
	close(ln.late)
	eventually(t, "held", func() bool { return len(n.ln.idleConns()) == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	finished := make(chan struct{})
	go func() { // ends with the connections, or long after patience
		defer close(finished)
		n.server.finish(ctx)
	}()
	within(t, "end of the connections", finished)
	kept.end()
	silent.isCut()
	n.checkDrained()
}

// A connection that is accepted while the owner closes the server is closed too.
func TestAcceptedWhileTheServerIsClosed(t *testing.T) {
	inner := listen(t)
	defer inner.Close()
	n := serveNode(t, &http.Server{}, &lastMoment{Listener: inner, closing: make(chan struct{})})
	c := n.dial()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	c.isCut()
	n.ln.awaitSources(t)
}

// awaitSources waits until no goroutine has anything left to accept.
func (l *listener) awaitSources(t *testing.T) {
	t.Helper()
	ended := make(chan struct{})
	go func() { // ends soon, or the test has failed
		defer close(ended)
		l.sources.Wait()
	}()
	within(t, "end of the sources", ended)
}

// isCut waits until the server has closed the connection in any way.
func (c *connection) isCut() {
	c.t.Helper()
	text, err := io.ReadAll(c.reader)
	if len(text) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("%q and %v instead of the end", text, err)
	}
}

// faulty is a listener with temporary errors.
type faulty struct {
	net.Listener
	errors atomic.Int32 // how many are left
}

func (l *faulty) Accept() (net.Conn, error) {
	if l.errors.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// Temporary errors delay neither a client for long nor the drain.
func TestTemporaryAcceptErrors(t *testing.T) {
	ln := &faulty{Listener: listen(t)}
	ln.errors.Store(2)
	n := serveNode(t, &http.Server{Handler: names("old"), ErrorLog: log.New(io.Discard, "", 0)}, ln)
	c := n.dial()
	if body, _ := c.get("/"); body != "old" {
		t.Errorf("got %q", body)
	}
	c.Close()
	ln.errors.Store(1 << 30)
	n.dial().Close() // now Accept returns one error after another
	eventually(t, "failing", func() bool { return ln.errors.Load() < 1<<30 })
	n.finish(n.drainAfterUpgrade())
	n.ln.awaitSources(t)
}

// Two listeners can have one address. Both serve, and one of them gets the transfers of the
// previous process.
func TestTwoListenersOnOneAddress(t *testing.T) {
	ln := listen(t)
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	m := managertest.New(t)
	srv := &http.Server{Handler: names("one of them")}
	err = errors.Join(Start(m, srv, ln, WithIdleGrace(0)), Start(m, srv, other), m.Ready(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		c := dial(t, "tcp", ln.Addr().String())
		if body, _ := c.get("/"); body != "one of them" {
			t.Errorf("got %q", body)
		}
		c.Close()
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A server that fails before it serves leaves no connection open: clients would wait in vain.
func TestServerThatFailsBeforeItServes(t *testing.T) {
	m := managertest.New(t)
	ln := listen(t)
	c := dial(t, "tcp", ln.Addr().String())
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := StartTLS(m, &http.Server{}, ln, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(t.Context()); err == nil {
		t.Error("the service has not failed")
	}
	c.isCut()
}

// A connection that the old process has sent just before the end of the drain moves on to the next
// process. One that is refused there is closed, and counts as closed.
func TestConnectionThatArrivesAtTheEndOfTheDrain(t *testing.T) {
	n := newNode(t, &http.Server{})
	states := make(chan string, 1)
	n.transferTo(func(_ context.Context, _ string, _ syscall.Conn, state []byte) error {
		states <- string(state)
		return nil
	})
	n.begin(true)
	ours, client := pair(t)
	n.ln.end()
	n.ln.adopt(ours, []byte("1h"))
	left, err := time.ParseDuration(within(t, "transfer", states))
	if err != nil || left > time.Hour || left < time.Hour-patience {
		t.Errorf("it may be silent for %v, %v", left, err)
	}
	client.isCut() // nobody else has it open
	n.transferTo(refused)
	ours, client = pair(t)
	n.ln.adopt(ours, nil)
	client.isCut()
	if closed, _ := n.conns.count(); closed != 1 {
		t.Errorf("%d connections are counted as closed", closed)
	}
}

// Empty lines before a request do no harm: clients may send them after a body that another process
// has read. More of them than http.Server ignores are an error, as are those before the first
// request.
func TestEmptyLinesBeforeARequest(t *testing.T) {
	for lines, want := range map[string]string{
		"\r\n": "new", "\r\n\r\n": "new", "\n\n\n\n\n": "400 Bad Request",
	} {
		n := newNode(t, &http.Server{Handler: names("new")})
		ours, client := pair(t)
		n.ln.adopt(ours, nil)
		for piece := range strings.SplitSeq(lines, "") {
			client.send(piece)
		}
		if body, _ := client.get("/"); body != want {
			t.Errorf("after %q: %q", lines, body)
		}
		fresh := n.dial()
		fresh.send("\n")
		if body, _ := fresh.read(); body != "400 Bad Request" {
			t.Errorf("before the first request: %q", body)
		}
	}
}

// A listener that changes its connections does not get those of one that does not.
func TestListenersAreToldApart(t *testing.T) {
	ln := pipenet.Listen()
	names := map[string]bool{}
	for _, other := range []net.Listener{
		ln, tls.NewListener(ln, &tls.Config{}), &lastMoment{Listener: ln},
	} {
		names[transferName(other, false)] = true
	}
	names[transferName(ln, true)] = true
	if len(names) != 4 {
		t.Errorf("their names are %v", names)
	}
}

// A connection may be silent for as long as with http.Server alone.
func TestTimeoutsOfSilentConnections(t *testing.T) {
	const (
		none   = time.Duration(0)
		never  = time.Duration(-1)
		header = 2 * time.Hour
		read   = 3 * time.Hour
		write  = time.Hour
	)
	for _, c := range []struct {
		header, read, write time.Duration
		plain, secure       time.Duration
	}{
		{none, none, none, none, none},
		{header, none, none, header, header},
		{header, read, none, header, header},
		{none, read, none, read, read},
		{never, read, none, none, read},
		{never, never, never, none, none},
		{none, none, write, none, write},
		{header, read, write, header, write},
	} {
		s := &server{Server: &http.Server{
			ReadHeaderTimeout: c.header, ReadTimeout: c.read, WriteTimeout: c.write,
		}}
		for secure, want := range map[bool]time.Duration{false: c.plain, true: c.secure} {
			if first, _ := s.headerTimeouts(secure); max(first, none) != want {
				t.Errorf("with timeouts of %v, %v, %v, and TLS %t: %v, want %v",
					c.header, c.read, c.write, secure, first, want)
			}
		}
	}
}
