package gracehttp

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/go-grace/grace"
)

const (
	// settleTime is how long, after an upgrade, a server goes on whose listener may hold accepted
	// connections: a multiplexer closes those that it has not passed on when its listener closes.
	// The Manager's own listener below accepts nothing more by then.
	settleTime = 200 * time.Millisecond
	// maxPoll is the longest pause between two looks at the connections.
	maxPoll = 50 * time.Millisecond
	// lastCall is how long before the deadline http.Server.Shutdown is called if connections are
	// left: its RegisterOnShutdown functions need some time.
	lastCall = 3 * time.Second
	// closeTime bounds the end of cut connections: those of the owner's listeners can hang.
	closeTime = 500 * time.Millisecond
)

// onDrain is the OnDrain hook. A server whose only Start came too late is left alone.
func (s *server) onDrain(ctx context.Context) error {
	servers.Forget(serverKey{s.m, s.Server})
	if !s.hasStarted() {
		return nil
	}
	defer s.drained()
	upgraded := errors.Is(s.m.Cause(), grace.ErrUpgraded)
	if upgraded && slices.ContainsFunc(s.allListeners(), (*listener).mayHold) {
		pause(ctx, settleTime)
	}
	s.begin(upgraded)
	return s.drain(ctx)
}

// drain finishes the work of the server after begin. http.Server.Shutdown alone would lose
// requests: it closes idle connections at once, though requests may be on their way, and drops
// requests that it has just read. So Shutdown comes last, when the drain has ended every connection
// that it can.
//
// Connections that are cut are part of the report, and not an error. They are closed before the
// hook returns, so that the Manager, which counts what is still open then, does not count them too.
func (s *server) drain(ctx context.Context) error {
	s.handOver(ctx)
	defer s.transfers.startFreeing(ctx)()
	s.finish(ctx)
	s.shutDown(ctx)
	report := s.report()
	if report.Cut > 0 || ctx.Err() != nil {
		s.cut()
	}
	s.m.Emit(context.Background(), report)
	return s.listenErr
}

func (s *server) report() DrainReport {
	ended, left := s.conns.count()
	return DrainReport{
		Server:      s.Server,
		Addrs:       s.addrs(),
		Duration:    time.Since(s.began),
		Requests:    int(s.requests.Load()),
		Closed:      ended,
		Transferred: int(s.transfers.transferred.Load()),
		Cut:         left,
	}
}

// begin begins the drain.
func (s *server) begin(upgraded bool) {
	s.began = time.Now()
	s.conns.begin()
	s.transfers.hasSuccessor.Store(upgraded)
	s.endServe()
	s.listenErr = s.stopListening()
}

// pause waits for d, and reports whether the context has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// stopListening takes no new connections: clients that connect from now on reach the successor.
func (s *server) stopListening() error {
	var errs []error
	for _, l := range s.allListeners() {
		errs = append(errs, l.stop())
	}
	return errors.Join(errs...)
}

// endListening returns when nothing more comes out of the listeners: then every connection that was
// accepted is known.
func (s *server) endListening(ctx context.Context) {
	for _, l := range s.allListeners() {
		for _, c := range l.stopHolding() { // among them those accepted after handOver
			s.transfers.wake(ctx, c)
		}
		go l.end() // ends soon, if its owner's listener does
		select {
		case <-l.served:
		case <-ctx.Done():
		}
	}
}

// finish waits until all connections are closed, after their last response or after they were idle
// for long enough. It does not wait for those of HTTP/2 whose frames are not followed.
func (s *server) finish(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		before := min(lastCall, time.Until(deadline)/4)
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-before))
		defer cancel()
	}
	finished := func() bool {
		waits := false
		s.conns.each(func(c *conn) { waits = c.drain(s.grace(), s.began) || waits })
		return !waits
	}
	poll(ctx, finished)
	s.endListening(ctx) // from here on the connections accepted last are known
	poll(ctx, finished)
}

// shutDown sends a GOAWAY on the connections that are left, and waits until all are closed,
// including hijacked ones. It closes idle HTTP/2 connections whose clients do not take the GOAWAY:
// net/http would wait for them forever.
func (s *server) shutDown(ctx context.Context) {
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.Shutdown(stop) //nolint:errcheck // it ends with stop, if its owner's listeners let it
	began := time.Now()
	poll(ctx, func() bool {
		// net/http allows a client a second after the GOAWAY
		if time.Since(began) >= max(s.grace(), 2*time.Second) {
			s.conns.each((*conn).closeIdle)
		}
		_, left := s.conns.count()
		return left == 0
	})
}

// poll calls done until it returns true or the context ends.
func poll(ctx context.Context, done func() bool) {
	for wait := time.Millisecond; !done() && pause(ctx, wait); {
		wait = min(2*wait, maxPoll)
	}
}

// cut closes the connections that are left, hijacked ones included. Their sockets come first:
// http.Server says goodbye in TLS, which takes seconds if a client does not read.
func (s *server) cut() {
	closed := make(chan struct{})
	go func() { // ends soon, if the owner's listeners and connections let it
		defer close(closed)
		s.conns.cut()
		_ = s.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

func (s *server) hasStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

func (s *server) grace() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idleGrace
}

func (s *server) rule() idleRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idleRule
}

func (s *server) allListeners() []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listeners)
}

func (s *server) addrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range s.allListeners() {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}
