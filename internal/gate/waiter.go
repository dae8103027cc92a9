package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// waiter is the gate as one socket sees it: its user may close it or set a deadline during a wait.
type waiter struct {
	gate  *Gate
	addr  net.Addr                // of the socket
	arm   func(t time.Time) error // sets the deadline of the socket for calls that take something
	calls *calls                  // in the system

	mu       sync.Mutex
	closed   bool
	isShut   bool
	deadline time.Time     // set by the user
	changed  chan struct{} // closed when the user changes one of these; nil while nobody waits
}

func newWaiter(g *Gate, addr net.Addr, arm func(time.Time) error) *waiter {
	w := &waiter{gate: g, addr: addr, arm: arm, calls: newCalls()}
	g.add(w)
	return w
}

// call runs take, which takes something from the system, once the gate is open. If the gate shuts
// meanwhile, call goes on waiting instead of returning the interruption.
func (w *waiter) call(op string, take func() error) error {
	for {
		if err := w.enter(); err != nil {
			return w.opError(op, err)
		}
		err := w.run(take)
		if err == nil || !w.interrupted(err) {
			return err
		}
	}
}

// enter waits until a call may begin.
func (w *waiter) enter() error {
	for !w.gate.isOpen.Load() || !w.calls.begin() {
		if err := w.wait(); err != nil {
			return err
		}
	}
	return nil
}

func (w *waiter) run(take func() error) error {
	defer w.calls.end() // the function passed to a RawConn may panic
	return take()
}

// interrupted reports whether the error of a call may come from shut. If the user's deadline has
// passed as well, the wait that follows finds it.
func (w *waiter) interrupted(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && w.calls.isStopped()
}

// wait returns nil when something has changed.
func (w *waiter) wait() error {
	now := w.look()
	if now.closed {
		return net.ErrClosed
	}
	opened := w.gate.opened
	if now.isShut {
		opened = nil // what it says no longer counts
	}
	var expired <-chan time.Time
	if !now.deadline.IsZero() {
		timer := time.NewTimer(time.Until(now.deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-opened:
		return nil
	case <-now.changed:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	}
}

// view is what a wait depends on.
type view struct {
	closed, isShut bool
	deadline       time.Time
	changed        <-chan struct{}
}

func (w *waiter) look() view {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return view{w.closed, w.isShut, w.deadline, w.changed}
}

// wake has those who wait look again; mu is held.
func (w *waiter) wake() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// setDeadline sets the user's deadline. Once the gate is shut, it governs the wait alone: the
// socket's own deadline stays in the past, and only its error counts.
func (w *waiter) setDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	w.wake()
	if w.isShut {
		return w.arm(longAgo)
	}
	return w.arm(t)
}

// longAgo is a deadline that interrupts a call.
var longAgo = time.Unix(1, 0)

// shut lets no more calls begin and interrupts those in the system. Those that wait go on waiting.
func (w *waiter) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isShut {
		return
	}
	w.isShut = true
	w.calls.stop()
	select {
	case <-w.calls.ended: // nothing to interrupt, which saves thousands of sockets the time
	default:
		_ = w.arm(longAgo) // fails only if the socket is closed, which interrupts as well
	}
}

// awaitCalls waits after shut until no call is in the system.
func (w *waiter) awaitCalls(ctx context.Context) error {
	select {
	case <-w.calls.ended:
		return nil
	default: // not a matter of chance if the context has ended
	}
	select {
	case <-w.calls.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a call that blocks a thread may still take something from %s %s: %w",
			w.addr.Network(), w.addr, context.Cause(ctx))
	}
}

// close closes the socket by closeSocket and ends the waits.
func (w *waiter) close(closeSocket func() error) error {
	w.end()
	defer w.gate.remove(w) // not earlier: Shut has to wait for a call that is still in the system
	return closeSocket()
}

// end makes every wait fail.
func (w *waiter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake()
}

// opError returns the error of a wait in the form of package net.
func (w *waiter) opError(op string, err error) error {
	e := &net.OpError{Op: op, Net: w.addr.Network(), Err: err}
	if op == opAccept {
		e.Addr = w.addr
	} else {
		e.Source = w.addr
	}
	return e
}

// The operations of package net that wait at the gate.
const (
	opAccept  = "accept"
	opRead    = "read"
	opRawRead = "raw-read"
)
