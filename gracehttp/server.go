package gracehttp

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// server is an http.Server with the state of its drain.
type server struct {
	*http.Server
	group     *group
	serving   context.Context    //nolint:containedctx // it ends when the drain begins
	endServe  context.CancelFunc // ends serving
	conns     conns
	requests  atomic.Int64 // that have finished since the drain began
	http2     *http.Server // serves HTTP/2; nil if the embedded server does
	transfers transferrer

	beginOnce sync.Once // guards the begin of the drain
	began     time.Time // when the drain began; set before serving ends
	listenErr error     // of closing the listeners; likewise

	mu        sync.Mutex
	idleGrace time.Duration
	stopDelay time.Duration
	idleRule  idleRule // nil if idle connections are not handed over
	listeners []*listener
}

// newServer wraps the functions of the server's owner.
func newServer(g *group, srv *http.Server) *server {
	s := &server{
		Server: srv, group: g, idleGrace: DefaultIdleGrace, transfers: newTransferrer(g.m),
	}
	s.serving, s.endServe = context.WithCancel(context.Background())
	srv.Handler = s.handler(srv.Handler)
	srv.ConnState = s.connState(srv.ConnState)
	srv.ConnContext = s.connContext(srv.ConnContext)
	if srv.BaseContext != nil {
		srv.BaseContext = baseContext(srv.BaseContext)
	}
	return s
}

// listen adds a listener that is about to be served.
func (s *server) listen(ln net.Listener, secure bool, set settings) *listener {
	rule, err := set.rule(s.Server)
	if err != nil {
		s.group.m.Report(IdleHandoverOff{Server: s.Server, Err: err})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if rule != nil {
		s.idleRule = rule
	}
	if set.idleGrace != nil {
		s.idleGrace = *set.idleGrace
	}
	if set.stopDelay != nil {
		s.stopDelay = *set.stopDelay
	}
	if len(s.listeners) == 0 {
		s.takeHTTP2(ln, secure)
	}
	l := newListener(s, ln, secure)
	s.listeners = append(s.listeners, l)
	return l
}

// served notes that serving a listener has ended, and returns the error unless that was intended.
func (s *server) served(l *listener, err error) error {
	_ = l.Close() // http.Server.ServeTLS does not if it fails before it serves
	s.mu.Lock()
	defer s.mu.Unlock()
	close(l.served)
	switch {
	case s.isDraining():
		err = unlessClosed(err)
	case err == http.ErrServerClosed: //nolint:errorlint // unwrapped: the owner has closed it
		s.listeners = slices.DeleteFunc(s.listeners, func(o *listener) bool { return o == l })
		err = nil
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("gracehttp: serve %s: %w", l.Addr(), err)
}

func (s *server) isDraining() bool { return s.serving.Err() != nil }

// headerDeadline returns the time until which a new connection may be silent, or zero if there is
// no limit. http.Server starts to count with the first byte.
func (s *server) headerDeadline(secure bool) time.Time {
	d := cmp.Or(s.ReadHeaderTimeout, s.ReadTimeout)
	if secure { // the handshake counts too
		for _, other := range []time.Duration{s.ReadTimeout, s.WriteTimeout} {
			if other > 0 && (d <= 0 || other < d) {
				d = other
			}
		}
	}
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// closes reports whether the response that is about to begin is the last one on its connection; the
// server drains. A connection that leaves for the successor is not closed. But if it is still here
// after the grace period, it will never leave: its client always has a part of the next request
// here. An HTTP/2 connection ends in another way unless its client ignores that.
func (s *server) closes(c *conn) bool {
	grace := max(s.grace(), leaveTime)
	if frames := c.http2Conn(); frames != nil {
		return frames.isIgnored(grace)
	}
	return !c.mayLeave() || time.Since(s.began) > grace
}

// handler marks each response of a draining server as the last one on its connection, unless the
// connection leaves for the successor. In HTTP/2 that sends a GOAWAY. After a response that began
// before the drain there is one more.
func (s *server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		c.setProtocol(r.ProtoMajor)
		if s.isDraining() && s.closes(c) && !changesProtocol(r) {
			w.Header().Set("Connection", "close")
		}
		defer s.handled(c)
		h := next
		if h == nil {
			h = http.DefaultServeMux
		}
		h.ServeHTTP(w, r)
	})
}

// changesProtocol reports whether a request asks for another protocol. A proxy would mix a
// Connection header of ours with those of that protocol.
func changesProtocol(r *http.Request) bool { return r.Header["Upgrade"] != nil }

// handled is called when a handler returns or panics.
func (s *server) handled(c *conn) {
	if s.isDraining() {
		s.requests.Add(1)
	}
	if s.conns.anyHijacked.Load() {
		c.noteHandlerReturn()
	}
}

// connState returns a ConnState function that follows each connection and calls next.
func (s *server) connState(
	next func(net.Conn, http.ConnState),
) func(net.Conn, http.ConnState) {
	return func(c net.Conn, state http.ConnState) {
		s.group.connected.Store(true)
		if next != nil {
			next(c, state)
		}
		s.conns.note(c, state, s.ReadTimeout) // may end the drain
	}
}

// connContext returns a ConnContext function that calls next, and by which requests find their
// connection and the drain.
func (s *server) connContext(
	next func(context.Context, net.Conn) context.Context,
) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, nc net.Conn) context.Context {
		c := newConn(nc, s)
		s.conns.add(c)
		ctx = context.WithValue(ctx, contextKey{}, c)
		if next != nil {
			ctx = next(ctx, nc)
		}
		c.context = ctx
		return ctx
	}
}

// baseContext returns a BaseContext function that calls next with the listener of the owner.
func baseContext(next func(net.Listener) context.Context) func(net.Listener) context.Context {
	return func(ln net.Listener) context.Context {
		if l, ok := ln.(*listener); ok {
			ln = l.Listener
		}
		return next(ln)
	}
}
