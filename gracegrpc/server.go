package gracegrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/foreign"
	"github.com/go-grace/grace/internal/frontend"
)

const (
	// settleTime is how long a server goes on when its listeners are closed. GracefulStop at once
	// would close connections that grpc-go has accepted and whose goroutines it has started, but
	// not run yet; their clients' first RPCs would fail.
	settleTime = 200 * time.Millisecond
	// goAwayTime is how long GracefulStop may take to write a GOAWAY on all connections.
	goAwayTime = 100 * time.Millisecond
	// stopTime is how long handlers may take to notice that their RPCs are cut. Stop itself can
	// take longer: it waits for clients that have connected and not said anything yet.
	stopTime = 500 * time.Millisecond
)

// server is a grpc.Server with the state of its drain.
type server struct {
	*grpc.Server
	group     *group
	listeners []net.Listener // guarded by the group's mu
	private   bool           // the next process cannot be reached by a listener; likewise

	closing  atomic.Bool   // its listeners are closed
	told     chan struct{} // closed when its clients know of the drain
	drained  chan struct{} // closed when no RPC is left
	ended    time.Time     // when that was; set before
	stopTime time.Duration
}

func newServer(g *group, srv *grpc.Server) *server {
	return &server{
		Server: srv, group: g, told: make(chan struct{}), drained: make(chan struct{}),
		stopTime: stopTime,
	}
}

// onDrain is the OnDrain hook. A server whose only Start came too late is left alone.
//
// RPCs that are cut are part of the report, and not an error.
func (s *server) onDrain(ctx context.Context) error {
	listeners := s.allListeners()
	if len(listeners) == 0 {
		return nil
	}
	began := time.Now()
	s.awaitCallers(ctx)
	s.awaitHeld(ctx, listeners)
	s.closing.Store(true)
	err := closeListeners(listeners)
	s.tellClients(ctx)
	report := DrainReport{Server: s.Server, Addrs: addrs(listeners), Cut: !s.await(ctx)}
	if report.Cut {
		s.cut()
		report.Duration = time.Since(began)
	} else {
		report.Duration = s.ended.Sub(began)
	}
	s.group.m.Emit(context.Background(), report)
	return err
}

func (s *server) allListeners() []net.Listener {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return slices.Clone(s.listeners)
}

// awaitCallers waits for the handlers of HTTP servers in this process, which may call this server.
// If they can reach the successor instead, it returns at once. They have half of the time that is
// left: long responses must not take all of it.
func (s *server) awaitCallers(ctx context.Context) {
	m := s.group.m
	if errors.Is(m.Cause(), grace.ErrUpgraded) && !s.isPrivate() {
		return
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	frontend.Await(ctx, m)
}

// awaitHeld waits, after an upgrade, for connections that a listener has accepted and not returned:
// a multiplexer closes them when its listener closes. The Manager's own listener below accepts
// nothing more by then.
func (s *server) awaitHeld(ctx context.Context, listeners []net.Listener) {
	upgraded := errors.Is(s.group.m.Cause(), grace.ErrUpgraded)
	if upgraded && slices.ContainsFunc(listeners, foreign.MayHold) {
		pause(ctx, settleTime)
	}
}

func (s *server) isPrivate() bool {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return s.private
}

// served returns the error of serving a listener, unless that was closed by the drain.
func (s *server) served(ln net.Listener, err error) error {
	if err != nil && !s.closing.Load() {
		return fmt.Errorf("gracegrpc: serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// closeListeners begins the drain: clients that connect from now on reach the successor.
func closeListeners(listeners []net.Listener) error {
	var errs []error
	for _, ln := range listeners {
		errs = append(errs, closeListener(ln))
	}
	return errors.Join(errs...)
}

// tellClients sends a GOAWAY on all connections.
func (s *server) tellClients(ctx context.Context) {
	defer close(s.told)
	pause(ctx, settleTime)
	go func() { // ends with the last RPC
		defer close(s.drained)
		s.GracefulStop()
		s.ended = time.Now()
	}()
	pause(ctx, goAwayTime)
}

// pause returns after a while, or when the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// await reports whether no RPC is left when it returns, which is when the context ends at the
// latest.
func (s *server) await(ctx context.Context) bool {
	select {
	case <-s.drained:
	case <-ctx.Done():
	}
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}

// cut closes the connections, and grants the handlers a moment to return.
func (s *server) cut() {
	go s.Stop() // ends with the process at the latest
	timer := time.NewTimer(s.stopTime)
	defer timer.Stop()
	select {
	case <-s.drained:
	case <-timer.C:
	}
}

func addrs(listeners []net.Listener) []net.Addr {
	all := make([]net.Addr, len(listeners))
	for i, ln := range listeners {
		all[i] = ln.Addr()
	}
	return all
}
