package gracehttp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

const (
	// interruptTime is how long a connection may take to end after its read was interrupted.
	interruptTime = time.Second
	// leaveTime is how long an idle connection may take to leave for the successor, or to end in
	// HTTP/2. It has longer if something arrives.
	leaveTime = time.Second
)

// conn is a connection of a server.
type conn struct {
	net.Conn
	server   *server
	handover *handover       // nil if the connection is not handed over between requests
	context  context.Context //nolint:containedctx // of its requests
	shown    bool            // the owner's ConnState knew of it before http.Server did
	limit    *time.Timer     // for the header of the first request; nil if there is none

	mu              sync.Mutex
	frames          *http2Conn           // follows the frames of HTTP/2; otherwise nil
	tls             *tls.ConnectionState // of HTTP/2 with TLS
	state           http.ConnState
	since           time.Time // when it became idle, or was accepted
	interrupted     time.Time // when its read was interrupted; zero if it was not
	http2           bool
	asked           bool            // whether TLS has agreed on HTTP/2
	handlerReturned bool            // after it has hijacked the connection
	last            *os.File        // see stayOpen
	opaque          *fds.Connection // a hijacked connection whose descriptor is hidden
}

// newConn returns the state kept for nc. It is called before anything else happens on a connection.
func newConn(nc net.Conn, s *server) *conn {
	from := s.arrivals.take(nc)
	c := &conn{Conn: nc, server: s, since: time.Now(), shown: from.shown}
	if !from.limit.IsZero() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.limit = time.AfterFunc(time.Until(from.limit), c.endHeader)
	}
	if w, ok := nc.(interface{ itself() *handover }); ok {
		c.handover = w.itself()
	}
	return c
}

// setProtocol notes the major version of HTTP of a request.
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

// setHTTP2 notes that the connection speaks HTTP/2, and what follows its frames.
func (c *conn) setHTTP2(frames *http2Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http2, c.frames, c.interrupted = true, frames, time.Time{}
	if t, ok := c.Conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
}

// http2Conn returns what follows the frames of HTTP/2, or nil if nothing does.
func (c *conn) http2Conn() *http2Conn {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames
}

// isFollowedTLS reports whether the connection speaks HTTP/2 over TLS, and its frames are followed.
func (c *conn) isFollowedTLS() bool { return c.http2Conn() != nil && c.tls != nil }

// mayLeave reports whether the connection leaves for the successor after its present request.
func (c *conn) mayLeave() bool { return c != nil && c.handover.mayLeave() }

// noteHandlerReturn is called when a handler returns.
func (c *conn) noteHandlerReturn() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlerReturned = c.state == http.StateHijacked
}

// enter notes a new state, in the goroutine that serves the connection.
func (c *conn) enter(state http.ConnState, readTimeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = state
	if c.limit != nil && state != http.StateNew {
		c.limit.Stop()
	}
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

// endHeader ends the wait for the first request. http.Server counts the time for that from the
// first byte, and so could allow twice as much.
func (c *conn) endHeader() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == http.StateNew && c.frames == nil {
		c.interrupted = time.Now()
		_ = c.SetReadDeadline(longAgo) // a dead connection reports that by itself
		c.limit.Reset(interruptTime)   // http.Server may be about to set a deadline of its own
	}
}

// resume takes back an interruption because a request came first; mu is held.
func (c *conn) resume(readTimeout time.Duration) {
	c.interrupted = time.Time{}
	var deadline time.Time
	if readTimeout > 0 {
		deadline = time.Now().Add(readTimeout)
	}
	_ = c.SetReadDeadline(deadline) // a dead connection reports that by itself
}

// drain brings the connection closer to its end, in the drain that began at a given time. In HTTP/1
// it interrupts the read of a connection that has had no request for the grace period. It reports
// whether the server must wait for the connection. It need not if nothing follows the frames of
// HTTP/2.
//
// net/http closes the connection after the interruption. If drain closed it, a request would be
// lost that net/http has read but not reported yet. Such a request goes on instead: net/http sets
// new deadlines for it, and enter takes back an interruption that comes after that.
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
	case c.state == http.StateActive:
	case c.handover.isLeaving():
	case time.Since(latest(c.since, began, c.handover.lastHeard())) < grace:
	case time.Since(c.lastReceived()) < grace: // maybe a request not reported yet
	case c.interrupted.IsZero() && c.hasUnread(): // net/http is about to read it
	case c.interrupted.IsZero():
		c.interrupted = time.Now()
		_ = c.SetReadDeadline(longAgo)
	case time.Since(c.interrupted) >= interruptTime:
		go c.Close() //nolint:errcheck // ends soon; TLS may take some seconds to say goodbye
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

// closeIdle closes an HTTP/2 connection that should have ended by itself after a GOAWAY.
func (c *conn) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == http.StateIdle {
		go c.Close() //nolint:errcheck // as above
	}
}

// cut closes the socket of the connection, without a goodbye in TLS: its client would take a
// response that is cut off for a complete one.
func (c *conn) cut() {
	for nc := range layers(c.Conn) {
		if t, ok := nc.(*tls.Conn); ok {
			_ = t.NetConn().Close()
		}
	}
	_ = c.Close()
}

// isHTTP2 reports whether the connection speaks HTTP/2. It asks TLS if necessary, but not during
// the handshake, which would block; mu is held.
func (c *conn) isHTTP2() bool {
	if t, ok := c.Conn.(*tls.Conn); ok && !c.asked && c.state != http.StateNew {
		c.asked = true
		c.http2 = c.http2 || t.ConnectionState().NegotiatedProtocol == "h2"
	}
	return c.http2
}

// ended reports whether a hijacked connection is closed, which net/http does not report. One whose
// descriptor is hidden is looked for by its addresses when its handler has returned. If it is not
// found by them, as one of a unix socket, it counts as closed then.
func (c *conn) ended(descriptors *fds.Index) bool {
	if raw := socketOf(c.Conn); raw != nil {
		return raw.Control(func(uintptr) {}) != nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handlerReturned && !c.isOpenOpaque(descriptors)
}

// isOpenOpaque reports whether there is a connection with the addresses of this one; mu is held.
func (c *conn) isOpenOpaque(descriptors *fds.Index) bool {
	if c.opaque == nil {
		found, ok := descriptors.Find(c.LocalAddr(), c.RemoteAddr())
		if !ok {
			return false
		}
		c.opaque = &found
	}
	return c.opaque.IsOpen()
}

// lastReceived returns when the client last sent something, or zero if the system cannot tell.
func (c *conn) lastReceived() (t time.Time) {
	if raw := socketOf(c.Conn); raw != nil {
		_ = raw.Control(func(fd uintptr) { t = lastReceived(fd) }) // it fails on a dead connection
	}
	return t
}

// hasUnread reports whether something has arrived that nobody has read yet.
func (c *conn) hasUnread() (unread bool) {
	if raw := socketOf(c.Conn); raw != nil {
		_ = raw.Control(func(fd uintptr) { unread = hasUnread(fd) }) // as above
	}
	return unread
}
