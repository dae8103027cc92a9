package gracehttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/go-grace/grace"
)

const (
	maxPoll   = 50 * time.Millisecond  // between two looks at the connections
	lastCall  = 3 * time.Second        // at the end of the drain: for functions of RegisterOnShutdown, if there are connections until then
	closeTime = 500 * time.Millisecond // for http.Server.Close, which can hang
)

// drain finishes the work of the server. http.Server.Shutdown alone would not do: it closes idle connections at once, on which
// requests may be on their way, and drops those that it has just read. So it comes last, when no connection is left that we can end.
func (s *server) drain(ctx context.Context) error {
	s.awaitStop(ctx)
	s.begin(errors.Is(s.group.m.Cause(), grace.ErrUpgraded))
	s.handOver(ctx)
	s.finish(ctx)
	s.shutDown(ctx)

	err := s.listenErr
	report := DrainReport{Server: s.Server, Addrs: s.addrs(), Duration: time.Since(s.began), Requests: int(s.requests.Load()), Transferred: int(s.transfers.transferred.Load())}
	report.Closed, report.Cut = s.conns.count()
	if report.Cut > 0 {
		s.closeAll()
		err = errors.Join(err, fmt.Errorf("gracehttp: %d connections of %s were cut: %w", report.Cut, report.addrs(), context.Cause(ctx)))
	}
	s.group.m.Report(report)
	return err
}

// begin begins the drain, if it has not begun.
func (s *server) begin(upgraded bool) {
	s.beginOnce.Do(func() {
		s.began = time.Now()
		s.conns.begin()
		s.transfers.hasSuccessor.Store(upgraded)
		s.endServe()
		s.listenErr = s.stopListening()
	})
}

// awaitStop goes on for a while if the service stops, so that load balancers find out.
func (s *server) awaitStop(ctx context.Context) {
	if !errors.Is(s.group.m.Cause(), grace.ErrShutdown) || !s.group.connected.Load() {
		return
	}
	s.mu.Lock()
	delay := s.stopDelay
	s.mu.Unlock()
	pause(ctx, delay)
}

// pause reports whether the context is still there after a while.
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

// stopListening takes no new connection: clients that connect from now on get to the successor.
func (s *server) stopListening() error {
	var errs []error
	for _, l := range s.allListeners() {
		errs = append(errs, l.stop())
	}
	return errors.Join(errs...)
}

// endListening returns when nothing comes out of the listeners any more: every connection that was accepted is known.
func (s *server) endListening(ctx context.Context) {
	for _, l := range s.allListeners() {
		go l.end() // ends soon, if its owner's listener does
		select {
		case <-l.served:
		case <-ctx.Done():
		}
	}
}

// finish waits until all connections are closed, after their last answer, or when they have been idle for long enough; but for those of
// HTTP/2 whose frames are not followed.
func (s *server) finish(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(lastCall, time.Until(deadline)/4)))
		defer cancel()
	}
	finished := func() bool {
		waits := false
		s.conns.each(func(c *conn) { waits = c.drain(s.grace(), s.began) || waits })
		return !waits
	}
	poll(ctx, finished)
	s.endListening(ctx) // what was accepted last is known from now on
	poll(ctx, finished)
}

// shutDown sends GOAWAY on what is left, and waits until all connections are closed, hijacked ones included. Idle HTTP/2
// connections whose clients do not take the GOAWAY, for which net/http would wait for ever, are closed after a while.
func (s *server) shutDown(ctx context.Context) {
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.Shutdown(stop) //nolint:errcheck // the connections are counted; ends with stop, if its owner's own listeners let it
	began := time.Now()
	poll(ctx, func() bool {
		if time.Since(began) >= max(s.grace(), 2*time.Second) { // net/http gives a client a second from the GOAWAY on
			s.conns.each((*conn).closeIdle)
		}
		_, left := s.conns.count()
		return left == 0
	})
}

// poll asks until the answer is yes, or the context ends.
func poll(ctx context.Context, done func() bool) {
	for wait := time.Millisecond; !done() && pause(ctx, wait); {
		wait = min(2*wait, maxPoll)
	}
}

// closeAll cuts what is left.
func (s *server) closeAll() {
	closed := make(chan struct{})
	go func() { // ends soon, if the owner's own listeners let it
		defer close(closed)
		_ = s.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	select {
	case <-closed:
	case <-ctx.Done():
	}
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
