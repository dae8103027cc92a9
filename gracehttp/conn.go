package gracehttp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	interruptTime = time.Second // that a connection may take to end whose read was interrupted
	leaveTime     = time.Second // that an idle connection may take to leave for the successor, or for its end in HTTP/2; longer, if something comes
)

// conn is a connection of a server.
type conn struct {
	net.Conn
	server   *server
	handover *handover       // nil for a connection that is not handed over between requests
	context  context.Context //nolint:containedctx // of its requests

	mu              sync.Mutex
	frames          *http2Conn           // of HTTP/2; nil for all else
	tls             *tls.ConnectionState // of HTTP/2 with TLS
	state           http.ConnState
	since           time.Time // when it became idle, or was accepted
	interrupted     time.Time // when its read was interrupted; zero if it was not
	http2           bool
	asked           bool // whether TLS has agreed on HTTP/2
	handlerReturned bool // it was hijacked, and its handler has returned
}

// newConn is called for each connection before all else.
func newConn(nc net.Conn, s *server) *conn {
	c := &conn{Conn: nc, server: s, since: time.Now()}
	if w, ok := nc.(interface{ itself() *handover }); ok {
		c.handover = w.itself()
	}
	return c
}

// setProtocol is called for each request.
func (c *conn) setProtocol(major int) {
	if c == nil {
		return
	}
	if major != 2 {
		if c.handover != nil {
			c.handover.http1.Store(true)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http2 = true
}

// setHTTP2 says who follows the frames of the connection.
func (c *conn) setHTTP2(frames *http2Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http2, c.frames, c.interrupted = true, frames, time.Time{}
	if t, ok := c.Conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
}

// http2Conn gives who follows the frames of HTTP/2; nil if nobody does.
func (c *conn) http2Conn() *http2Conn {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames
}

// mayLeave reports whether the connection goes to the successor after its present request.
func (c *conn) mayLeave() bool { return c != nil && c.handover.mayLeave() }

// release is called when a handler returns.
func (c *conn) noteHandlerReturn() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlerReturned = c.state == http.StateHijacked
}

// enter is a change of the state, in the goroutine that serves the connection.
func (c *conn) enter(state http.ConnState, readTimeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = state
	if state == http.StateIdle {
		c.since = time.Now()
	}
	if c.handover != nil {
		c.handover.note(state)
	}
	if !c.interrupted.IsZero() && (state == http.StateActive || state == http.StateHijacked) {
		c.resume(readTimeout)
	}
}

// resume takes an interruption back that a request has forestalled; mu is held.
func (c *conn) resume(readTimeout time.Duration) {
	c.interrupted = time.Time{}
	var deadline time.Time
	if readTimeout > 0 {
		deadline = time.Now().Add(readTimeout)
	}
	_ = c.SetReadDeadline(deadline) // a connection that is gone says so by itself
}

// drain ends a connection, in the drain that began at a time: one of HTTP/1 if it has had no request for longer than the grace. It
// reports whether the connection has to be waited for, which one of HTTP/2 is only if its frames are followed.
//
// The read for the next request is interrupted, after which net/http closes the connection. To close it here would also hit a
// request that was read, of which net/http has not told yet. Such a request goes on: net/http sets the deadlines anew for it, and
// enter takes back what comes after that.
func (c *conn) drain(grace time.Duration, began time.Time) (waits bool) {
	if c.mayLeave() {
		grace = max(grace, leaveTime)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.frames != nil:
		c.frames.drain(max(grace, leaveTime), began)
	case c.isHTTP2():
		return false
	case c.state == http.StateActive || time.Since(latest(c.since, began, c.handover.lastHeard())) < grace:
	case time.Since(c.lastReceived()) < grace: // a request may be on its way of which http.Server does not tell yet
	case c.interrupted.IsZero():
		c.interrupted = time.Now()
		_ = c.SetReadDeadline(longAgo)
	case time.Since(c.interrupted) >= interruptTime:
		go c.Close() //nolint:errcheck // ends soon; TLS may take some seconds to say good-bye
	}
	return true
}

func latest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.After(first) {
			first = t
		}
	}
	return first
}

// closeIdle closes an HTTP/2 connection that should have ended by itself after GOAWAY.
func (c *conn) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == http.StateIdle {
		go c.Close() //nolint:errcheck // as above
	}
}

// isHTTP2 asks TLS if need be, not during the handshake, which would block; mu is held.
func (c *conn) isHTTP2() bool {
	if t, ok := c.Conn.(*tls.Conn); ok && !c.asked && c.state != http.StateNew {
		c.asked = true
		c.http2 = c.http2 || t.ConnectionState().NegotiatedProtocol == "h2"
	}
	return c.http2
}

// ended finds out whether a hijacked connection is closed, of which net/http does not tell. One that cannot be asked counts as
// closed when its handler has returned.
func (c *conn) ended() bool {
	if raw := c.socket(); raw != nil {
		return raw.Control(func(uintptr) {}) != nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handlerReturned
}

// lastReceived is when its client has last sent something, as far as the system tells.
func (c *conn) lastReceived() (t time.Time) {
	if raw := c.socket(); raw != nil {
		_ = raw.Control(func(fd uintptr) { t = lastReceived(fd) }) // a connection that is gone says so by itself
	}
	return t
}

// socket gives the descriptor, also under TLS; nil if there is none.
func (c *conn) socket() syscall.RawConn {
	inner := c.Conn
	if t, ok := inner.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if sc, ok := inner.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
