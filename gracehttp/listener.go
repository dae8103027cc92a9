package gracehttp

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// listener is what http.Server serves instead of its owner's. It keeps the connections on which nothing has come yet, so that they
// can be handed to a successor, and has those that the previous process hands to this one.
type listener struct {
	net.Listener
	server *server
	secure bool   // there is TLS above
	name   string // of what is handed to the successor
	forget func() // ends adopt
	idle   map[*idleConn]struct{}

	accepted chan accepted
	ended    chan struct{} // closed when nothing will be accepted any more
	closed   chan struct{} // closed when nobody accepts any more
	once     sync.Once     // closes it
	served   chan struct{} // closed when http.Server has returned from it

	mu      sync.Mutex
	stopped bool           // it accepts nothing from the system
	ending  bool           // nor anything else that was not there before
	sources sync.WaitGroup // of accepted
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// newListener begins to accept.
func newListener(s *server, ln net.Listener, secure bool) *listener {
	l := &listener{
		Listener: ln, server: s, secure: secure, name: transferName(ln, secure), idle: make(map[*idleConn]struct{}),
		accepted: make(chan accepted), ended: make(chan struct{}), closed: make(chan struct{}), served: make(chan struct{}),
	}
	forget, err := s.group.m.HandleTransfers(l.name, l.adopt)
	if err != nil { // another listener with this address has what comes: clients cannot tell the two apart
		forget = func() {}
	}
	l.forget = forget
	l.sources.Go(l.acceptAll) // ends with the listener
	return l
}

// transferName tells a listener from the others, in the next process too. Its type is a part of that: one that does something with
// its connections, such as package tls, must not get those of one that does not.
func transferName(ln net.Listener, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return fmt.Sprintf("%s %s %s %T", scheme, ln.Addr().Network(), ln.Addr(), ln)
}

// Accept gives a connection on which something has come.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.ended:
	case <-l.closed:
	}
	return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
}

// acceptAll accepts until the listener is closed. An error that nobody takes holds it up: http.Server waits for a while after some.
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
		case !l.hold(c, l.server.headerDeadline(l.secure)):
			l.deliver(accepted{conn: c})
		}
	}
}

// deliver has Accept return something. It reports false, and closes the connection, if nobody accepts any more.
func (l *listener) deliver(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
	}
	if a.conn != nil {
		l.server.conns.end()
		_ = a.conn.Close()
	}
	return false
}

func (l *listener) hasStopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopped
}

// adopt takes a connection without a request from the previous process, which says how long it may stay so.
func (l *listener) adopt(c net.Conn, state []byte) {
	var deadline time.Time
	if left, err := time.ParseDuration(string(state)); err == nil {
		deadline = time.Now().Add(left)
	}
	if l.hold(c, deadline) {
		return
	}
	if !l.handOver(c, deadline) { // it was sent to us just before nothing was to be any more
		l.server.conns.end()
	}
	_ = c.Close()
}

// handOver gives a connection without a request to the successor. Until then, it may stay so until the deadline.
func (l *listener) handOver(c net.Conn, deadline time.Time) bool {
	state := ""
	if !deadline.IsZero() {
		state = max(time.Until(deadline), time.Millisecond).String()
	}
	return l.server.transfers.transfer(l.name, c, state)
}

// stop accepts nothing from the system any more: clients that connect from now on get to the successor.
func (l *listener) stop() error {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	return unlessClosed(l.Listener.Close())
}

// end has Accept fail, once all that was accepted before is delivered or gone.
func (l *listener) end() {
	l.forget()
	l.stopHolding()
	l.sources.Wait()
	close(l.ended)
}

// Close is called by http.Server when it accepts no more, or by the server's owner.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.forget()
	for _, p := range l.stopHolding() {
		_ = p.Close()
	}
	return l.stop()
}
