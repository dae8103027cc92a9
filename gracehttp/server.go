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

// server is an http.Server with what its drain needs.
type server struct {
	*http.Server
	group     *group
	serving   context.Context    //nolint:containedctx // for who wants to know: it ends when the drain begins
	endServe  context.CancelFunc // ends it
	conns     conns
	requests  atomic.Int64 // finished since then
	http2     *http.Server // serves HTTP/2; nil if the other one does
	transfers transferrer

	beginOnce sync.Once // of the drain
	began     time.Time // set before it does
	listenErr error     // of closing the listeners; set then

	mu        sync.Mutex
	idleGrace time.Duration
	stopDelay time.Duration
	idleRule  idleRule // nil: idle connections are not handed over
	listeners []*listener
}

// newServer puts our functions around those of the server's owner.
func newServer(g *group, srv *http.Server) *server {
	s := &server{Server: srv, group: g, idleGrace: DefaultIdleGrace, transfers: newTransferrer(g.m)}
	s.serving, s.endServe = context.WithCancel(context.Background())
	srv.Handler = s.handler(srv.Handler)
	srv.ConnState = s.connState(srv.ConnState)
	srv.ConnContext = s.connContext(srv.ConnContext)
	if srv.BaseContext != nil {
		srv.BaseContext = baseContext(srv.BaseContext)
	}
	return s
}

// listen takes a listener that is about to be served.
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

// served says that serving a listener has ended, and returns the error unless somebody has wanted that.
func (s *server) served(l *listener, err error) error {
	_ = l.Close() // http.Server.ServeTLS does not, if it fails before it serves
	s.mu.Lock()
	defer s.mu.Unlock()
	close(l.served)
	switch {
	case s.isDraining():
		err = unlessClosed(err)
	case err == http.ErrServerClosed: //nolint:errorlint // by itself: the owner has closed the server
		s.listeners = slices.DeleteFunc(s.listeners, func(other *listener) bool { return other == l })
		err = nil
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("gracehttp: serve %s: %w", l.Addr(), err)
}

func (s *server) isDraining() bool { return s.serving.Err() != nil }

// headerDeadline is how long a connection may be silent at its begin: http.Server counts from the first byte on.
func (s *server) headerDeadline(secure bool) time.Time {
	d := cmp.Or(s.ReadHeaderTimeout, s.ReadTimeout)
	if secure { // for the handshake
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

// closes reports whether the answer of a draining server that is about to begin is the last one on its connection. One that goes to the
// successor is not closed; but if it has not gone by the end of the grace, it never will: its client always has a part of the next
// request here. One of HTTP/2 ends in another way, unless its client goes on.
func (s *server) closes(c *conn) bool {
	grace := max(s.grace(), leaveTime)
	if frames := c.http2Conn(); frames != nil {
		return frames.isIgnored(grace)
	}
	return !c.mayLeave() || time.Since(s.began) > grace
}

// handler makes each answer of a draining server the last one on its connection, unless the connection goes to the successor; in
// HTTP/2 it sends GOAWAY. An answer that was begun before is followed by another request, whose answer is then the last.
func (s *server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		c.setProtocol(r.ProtoMajor)
		if s.isDraining() && s.closes(c) && r.Header["Upgrade"] == nil { // a proxy would mix this header with those of the new protocol
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

// handled is called when a handler has returned, in whichever way.
func (s *server) handled(c *conn) {
	if s.isDraining() {
		s.requests.Add(1)
	}
	if s.conns.anyHijacked.Load() {
		c.noteHandlerReturn()
	}
}

// connState follows each connection.
func (s *server) connState(next func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(c net.Conn, state http.ConnState) {
		s.group.connected.Store(true)
		if next != nil {
			next(c, state)
		}
		s.conns.note(c, state, s.ReadTimeout) // may end the drain
	}
}

// connContext lets requests find out about their connection, and about the drain.
func (s *server) connContext(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
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

// baseContext shows the owner its own listener.
func baseContext(next func(net.Listener) context.Context) func(net.Listener) context.Context {
	return func(ln net.Listener) context.Context {
		if l, ok := ln.(*listener); ok {
			ln = l.Listener
		}
		return next(ln)
	}
}
