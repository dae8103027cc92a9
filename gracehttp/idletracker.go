package gracehttp

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// phase is what is known of a connection that http.Server reads from.
type phase uint32

const (
	busy    phase = iota // there may be a request, or a part of one
	idle                 // http.Server has said that it is idle
	waiting              // and waits for the next request, of which nothing is here yet
	woken                // so did it until the drain has interrupted that
	leaving              // it is offered to the successor
	gone                 // the successor has it
)

// idleTracker finds out when a connection is between two requests: nothing of the next one is in a buffer of http.Server, and nobody
// else reads. It sees what http.Server does with the connection, and does no input or output itself.
//
// After an answer, http.Server reports StateIdle, sets the deadline for the idle time, and reads; if it has something of the next
// request already, it sets another deadline before it reads, or reads less than its buffer can hold. An idleRule judges that.
// (net/http/server.go, conn.serve.)
type idleTracker struct {
	phase atomic.Uint32
	stays atomic.Bool // for good: it is not for the successor

	mu       sync.Mutex // held while a deadline is set that is not for a request
	sets     int        // of the read deadline, while idle
	deadline time.Time  // that http.Server wants
}

// idleRule says whether a Read of so many bytes, after the read deadline was set so often since StateIdle, is one for the next
// request, with nothing of it in a buffer.
type idleRule func(sets, size int) bool

// idleWithBuffer is the rule for a buffer of a size.
func idleWithBuffer(buffer int) idleRule {
	return func(sets, size int) bool { return sets == 1 && size == buffer }
}

func (t *idleTracker) now() phase { return phase(t.phase.Load()) }

func (t *idleTracker) change(from, to phase) bool {
	return t.phase.CompareAndSwap(uint32(from), uint32(to))
}

// note is a change of the state of the connection.
func (t *idleTracker) note(state http.ConnState) {
	switch state {
	case http.StateIdle:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sets = 0
		t.change(busy, idle)
	case http.StateActive:
		t.change(idle, busy) // the request was in a buffer
	case http.StateHijacked:
		t.stays.Store(true)
	}
}

// setDeadline is SetReadDeadline of a connection, for which set does it.
func (t *idleTracker) setDeadline(deadline time.Time, set func(time.Time) error) error {
	if t.now() == busy {
		return set(deadline)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline = deadline
	switch t.now() {
	case woken, leaving, gone:
		return nil // resume sets it
	case idle:
		t.sets++
	}
	return set(deadline)
}

// enter begins a Read. It reports whether it is one for the next request, which can be interrupted.
func (t *idleTracker) enter(size int, rule idleRule) bool {
	if t.now() != idle {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !rule(t.sets, size) {
		t.change(idle, busy)
		return false
	}
	return t.change(idle, waiting)
}

// interrupt ends a Read for the next request. It reports false if there is none.
func (t *idleTracker) interrupt(set func(time.Time) error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.change(waiting, woken) {
		return false
	}
	_ = set(longAgo) // a connection that is gone says so
	return true
}

// leave begins to hand the connection over, in the Read for the next request. It gives the deadline for that, and reports false if
// the drain has interrupted the Read just now.
func (t *idleTracker) leave(from phase) (deadline time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.deadline, t.change(from, leaving)
}

// resume undoes interrupt and leave.
func (t *idleTracker) resume(next phase, set func(time.Time) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase.Store(uint32(next))
	_ = set(t.deadline)
}

// expired reports whether the connection was idle for as long as http.Server allows.
func (t *idleTracker) expired() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return isPast(t.deadline)
}
