package gracehttp

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// server is an http.Server with what its drain needs.
type server struct {
	*http.Server
	group    *group
	draining chan struct{} // closed when the drain begins
	conns    conns
	requests atomic.Int64 // finished since then

	mu        sync.Mutex
	idleGrace time.Duration
	stopDelay time.Duration
	listeners map[net.Listener]chan struct{} // closed when it is served no more
}

// newServer puts our functions around those of the server's owner.
func newServer(g *group, srv *http.Server) *server {
	s := &server{
		Server: srv, group: g, draining: make(chan struct{}), idleGrace: DefaultIdleGrace,
		listeners: make(map[net.Listener]chan struct{}),
	}
	srv.Handler = s.handler(srv.Handler)
	srv.ConnState = s.connState(srv.ConnState)
	srv.ConnContext = s.connContext(srv.ConnContext)
	return s
}

// listen remembers a listener that is about to be served.
func (s *server) listen(ln net.Listener, set settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[ln] = make(chan struct{})
	if set.idleGrace != nil {
		s.idleGrace = *set.idleGrace
	}
	if set.stopDelay != nil {
		s.stopDelay = *set.stopDelay
	}
}

// served says that serving a listener has ended, and returns the error unless somebody has wanted that.
func (s *server) served(ln net.Listener, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.listeners[ln])
	switch {
	case s.isDraining():
		err = unlessClosed(err)
	case err == http.ErrServerClosed: //nolint:errorlint // by itself: the owner has closed the server
		delete(s.listeners, ln)
		err = nil
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("gracehttp: serve %s: %w", ln.Addr(), err)
}

func (s *server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// handler makes each answer of a draining server the last one on its connection; in HTTP/2 it sends GOAWAY. An answer that was
// begun before is followed by another request, whose answer is then the last.
func (s *server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			connOf(r.Context()).setHTTP2()
		}
		if s.isDraining() && r.Header["Upgrade"] == nil { // a proxy would mix this header with those of the new protocol
			w.Header().Set("Connection", "close")
		}
		defer s.handled(r)
		h := next
		if h == nil {
			h = http.DefaultServeMux
		}
		h.ServeHTTP(w, r)
	})
}

// handled is called when a handler has returned, in whichever way.
func (s *server) handled(r *http.Request) {
	if s.isDraining() {
		s.requests.Add(1)
	}
	if s.conns.anyHijacked.Load() {
		connOf(r.Context()).release()
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
	return func(ctx context.Context, c net.Conn) context.Context {
		ctx = context.WithValue(ctx, contextKey{}, s.conns.add(c, s.draining))
		if next != nil {
			ctx = next(ctx, c)
		}
		return ctx
	}
}

type contextKey struct{}

// connOf gives the connection of a request; nil if its server is not one of ours.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(contextKey{}).(*conn)
	return c
}

// Draining gives a channel that is closed when the server of a request begins to drain, for handlers that would go on for long:
// those of server-sent events, long polls and WebSockets should then come to an end soon, in a way that has their clients connect
// anew. The context of the request is not cancelled by the drain. At the drain's deadline its connection is closed.
//
// It takes the context of a request, also of one whose connection was hijacked and after its handler has returned, or one that
// was derived from it. With another context it returns nil, a channel that is never closed.
func Draining(ctx context.Context) <-chan struct{} {
	if c := connOf(ctx); c != nil {
		return c.draining
	}
	return nil
}
