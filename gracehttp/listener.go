package gracehttp

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-grace/grace/internal/foreign"
)

// listener wraps a listener of the server's owner. It keeps the connections on which nothing has
// arrived yet, so that they can be handed to a successor, and takes those that the previous process
// hands to this one.
type listener struct {
	net.Listener
	server *server
	secure bool                   // there is TLS above
	name   string                 // of the transfers to the successor
	forget func()                 // takes no more transfers from the previous process
	idle   map[*idleConn]struct{} // guarded by mu

	accepted chan accepted
	ended    chan struct{} // closed when nothing more will be accepted
	closed   chan struct{} // closed when nobody accepts any longer
	once     sync.Once     // closes closed
	served   chan struct{} // closed when http.Server.Serve has returned

	mu      sync.Mutex
	stopped bool           // it accepts nothing from the system
	ending  bool           // it holds no more connections
	sources sync.WaitGroup // of accepted
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// newListener starts to accept.
func newListener(s *server, ln net.Listener, secure bool) *listener {
	l := &listener{
		Listener: ln, server: s, secure: secure, name: transferName(ln, secure),
		idle:     make(map[*idleConn]struct{}),
		accepted: make(chan accepted),
		ended:    make(chan struct{}),
		closed:   make(chan struct{}),
		served:   make(chan struct{}),
	}
	forget, err := s.m.HandleTransfers(l.name, l.adopt)
	if err != nil { // another listener has the name: clients cannot tell the two apart
		forget = func() {}
	}
	l.forget = forget
	l.sources.Go(l.acceptAll) // ends with the listener
	return l
}

// transferName returns a name that tells a listener from the others, in the next process too. The
// name includes the type: a listener that changes its connections, such as that of package tls,
// must not get those of one that does not.
func transferName(ln net.Listener, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return fmt.Sprintf("%s %s %s %T", scheme, ln.Addr().Network(), ln.Addr(), ln)
}

func (l *listener) mayHold() bool { return foreign.MayHold(l.Listener) }

// Accept returns a connection on which something has arrived.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.ended:
	case <-l.closed:
	}
	return nil, &net.OpError{
		Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed,
	}
}

// acceptAll accepts until the listener is closed. After an error it waits until http.Server takes
// the error, which it does with delay after some of them.
func (l *listener) acceptAll() {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err != nil && l.hasStopped():
			return
		case err != nil:
			if !l.deliver(accepted{err: err}) {
				return
			}
		case !l.hold(l.newIdleConn(c)):
			l.deliver(accepted{conn: l.comparable(c)})
		}
	}
}

// newIdleConn returns the state of a connection that has just been accepted.
func (l *listener) newIdleConn(nc net.Conn) *idleConn {
	first, header := l.server.headerTimeouts(l.secure)
	c := &idleConn{Conn: nc}
	if first > 0 {
		c.deadline = time.Now().Add(first)
	}
	if header > 0 {
		c.limit = time.Now().Add(header)
	}
	return c
}

// comparable returns a connection that does as the key of a map. TLS makes another one anyway.
func (l *listener) comparable(nc net.Conn) net.Conn {
	if l.secure {
		return nc
	}
	return boxedIfNeeded(nc)
}

// deliver makes Accept return a. If nobody accepts any longer, it closes the connection and reports
// false.
func (l *listener) deliver(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
	}
	if a.conn != nil {
		l.server.conns.noteEnd()
		_ = a.conn.Close()
	}
	return false
}

// hasStopped reports whether errors of Accept no longer matter. Once the process drains, another
// server may have closed the listener that both share.
func (l *listener) hasStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped || l.server.m.Cause() != nil
}

// adopt takes a connection without a request from the previous process. The state says how long the
// connection may stay idle.
func (l *listener) adopt(c net.Conn, state []byte) {
	var deadline time.Time
	if left, err := time.ParseDuration(string(state)); err == nil {
		deadline = time.Now().Add(left)
	}
	if l.hold(&idleConn{Conn: c, deadline: deadline, newlines: maxNewlines}) {
		return
	}
	if !l.handOver(c, deadline) { // it was sent to us just before we stopped holding connections
		l.server.conns.noteEnd()
	}
	_ = c.Close()
}

// handOver hands a connection without a request to the successor, where it may stay idle until the
// deadline. It reports whether the successor has taken it.
func (l *listener) handOver(c net.Conn, deadline time.Time) bool {
	state := ""
	if !deadline.IsZero() {
		state = max(time.Until(deadline), time.Millisecond).String()
	}
	return l.server.transfers.transfer(l.name, c, state)
}

// stop accepts nothing more from the system: clients that connect from now on reach the successor.
func (l *listener) stop() error {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	return unlessClosed(l.Listener.Close())
}

// end makes Accept fail once every connection accepted before is delivered or gone.
func (l *listener) end() {
	l.forget()
	l.stopHolding()
	l.sources.Wait()
	close(l.ended)
}

// Close is called by http.Server when it no longer accepts, or by the server's owner.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.forget()
	for _, c := range l.stopHolding() {
		_ = c.Close()
	}
	return l.stop()
}
