package gracehttp

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/frontend"
	"github.com/go-grace/grace/internal/registry"
)

// server is an http.Server with the state of its drain.
type server struct {
	*http.Server
	m         *grace.Manager
	serving   context.Context    //nolint:containedctx // it ends when the drain begins
	endServe  context.CancelFunc // ends serving
	drained   func()             // tells servers that its handlers may call; set before started
	arrivals  arrivals
	conns     conns
	requests  atomic.Int64 // that have finished since the drain began
	http2     *http.Server // serves HTTP/2; nil if the embedded server does
	transfers transferrer

	hijackedHTTP2  sync.Once                      // the owner is warned of it
	generalOptions bool                           // OPTIONS * is not for the owner's Handler
	ownConnState   func(net.Conn, http.ConnState) // of the owner; may be nil

	began     time.Time // when the drain began; set before serving ends
	listenErr error     // of closing the listeners; likewise

	mu        sync.Mutex
	started   bool // it has had a listener, and so the functions of its owner are wrapped
	idleGrace time.Duration
	idleRule  idleRule // nil if idle connections are not handed over
	listeners []*listener
}

// servers are those of the Managers that have not begun to drain.
var servers registry.Registry[serverKey, *server]

type serverKey struct {
	m   *grace.Manager
	srv *http.Server
}

// serverOf returns the server that serves srv. The first call adds its hook. One that is too late
// for the hook does not matter: listen refuses every listener then.
func serverOf(m *grace.Manager, srv *http.Server) *server {
	return servers.Of(serverKey{m, srv}, func() (*server, bool) {
		s := newServer(m, srv)
		m.Append(grace.Hook{Name: "gracehttp", OnDrain: s.onDrain})
		return s, m.Cause() == nil
	})
}

// newServer leaves srv as it is.
func newServer(m *grace.Manager, srv *http.Server) *server {
	s := &server{
		Server: srv, m: m, idleGrace: DefaultIdleGrace, transfers: newTransferrer(m),
	}
	s.serving, s.endServe = context.WithCancel(context.Background())
	return s
}

// listen adds a listener that is about to be served, unless the process is draining. While Cause
// returns nil, the hook is still to run, and will find the listener.
func (s *server) listen(ln net.Listener, secure bool, set settings) (*listener, error) {
	rule, off := s.newRule(set)
	l, err := s.addListener(ln, secure, set, rule)
	if err == nil && off != nil {
		s.m.Emit(context.Background(), IdleHandoverOff{Server: s.Server, Err: off})
	}
	return l, err
}

// newRule returns the rule that tells when a connection is idle. It returns nil if idle connections
// should not be handed over, and an error if they cannot be. It takes some milliseconds, so it
// works with a copy of the settings, and without mu.
func (s *server) newRule(set settings) (idleRule, error) {
	if !set.idleHandover {
		return nil, nil
	}
	s.mu.Lock()
	like := settingsOf(s.Server)
	s.mu.Unlock()
	return newIdleRule(like)
}

func (s *server) addListener(
	ln net.Listener, secure bool, set settings, rule idleRule,
) (*listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cause := s.m.Cause(); cause != nil {
		return nil, fmt.Errorf("gracehttp: serve %s: this process is draining: %w",
			ln.Addr(), cause)
	}
	s.configure(set, rule)
	if !s.started {
		s.started, s.drained = true, frontend.Started(s.m)
		s.wrap()
		s.takeHTTP2(ln, secure)
	}
	l := newListener(s, ln, secure)
	s.listeners = append(s.listeners, l)
	return l, nil
}

// configure notes the options of a Start; mu is held.
func (s *server) configure(set settings, rule idleRule) {
	if rule != nil {
		s.idleRule = rule
	}
	if set.idleGrace != nil {
		s.idleGrace = *set.idleGrace
	}
}

// wrap puts functions of ours around those of the server's owner.
func (s *server) wrap() {
	s.Handler = s.handler(s.Handler)
	s.generalOptions, s.DisableGeneralOptionsHandler = !s.DisableGeneralOptionsHandler, true
	s.ownConnState = s.ConnState
	s.ConnState = s.noteState
	s.ConnContext = s.connContext(s.ConnContext)
	if s.BaseContext != nil {
		s.BaseContext = baseContext(s.BaseContext)
	}
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

// headerTimeouts returns how long a new connection may take until its first byte and until the end
// of its first header, or zero if there is no limit. http.Server starts to count with the first
// byte, and with TLS again after the handshake.
func (s *server) headerTimeouts(secure bool) (first, header time.Duration) {
	header = cmp.Or(s.ReadHeaderTimeout, s.ReadTimeout)
	if !secure {
		return header, header
	}
	first = header
	for _, other := range []time.Duration{s.ReadTimeout, s.WriteTimeout} {
		if other > 0 && (first <= 0 || other < first) {
			first = other
		}
	}
	if header > 0 {
		header += first
	}
	return first, header
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

// handler puts a response between each handler and net/http.
func (s *server) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		c.setProtocol(r.ProtoMajor)
		defer s.handled(c)
		h := next
		switch {
		case s.generalOptions && r.Method == http.MethodOptions && r.RequestURI == "*":
			h = http.HandlerFunc(generalOptions)
		case h == nil:
			h = http.DefaultServeMux
		}
		w, response := s.newResponse(w, r, c)
		h.ServeHTTP(w, r)
		response.decide(http.StatusOK) // if the handler has written nothing
	})
}

// maxOptions is how many bytes of the body of OPTIONS * are read.
const maxOptions = 4 << 10

// generalOptions responds to OPTIONS * as http.Server does, which would not ask the Handler.
func generalOptions(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "0")
	if r.ContentLength != 0 {
		_, _ = io.CopyN(io.Discard, r.Body, maxOptions)
	}
}

// handled is called when a handler returns or panics.
func (s *server) handled(c *conn) {
	if s.isDraining() {
		s.requests.Add(1)
	}
	if s.conns.anyHijacked.Load() {
		c.noteHandlerReturn()
	}
}

// noteState is the ConnState function, which follows each connection and calls that of the owner.
func (s *server) noteState(nc net.Conn, state http.ConnState) {
	told := s.ownConnState == nil || state == http.StateNew && s.conns.isShown(nc)
	if !told {
		s.ownConnState(unboxed(nc), state)
	}
	s.conns.note(nc, state, s.ReadTimeout) // may end the drain
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
			ctx = next(ctx, unboxed(nc))
		}
		if connOf(ctx) != c { // the context of the owner's function is not derived from ours
			ctx = context.WithValue(ctx, contextKey{}, c)
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
