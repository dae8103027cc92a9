package gracehttp

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// phase says what is known about a connection that http.Server reads from.
type phase uint32

const (
	busy    phase = iota // there may be a request, or a part of one
	idle                 // http.Server has reported that the connection is idle
	waiting              // and a Read waits for the next request, of which nothing is here yet
	woken                // the drain has interrupted that Read
	leaving              // the connection is being offered to the successor
	gone                 // the successor has it
)

// idleTracker finds out when a connection is between two requests: no part of the next one is in a
// buffer of http.Server, and nobody else reads. It watches how http.Server uses the connection, and
// does no input or output itself.
//
// After a response, http.Server reports StateIdle, sets the deadline for the idle time, and reads.
// If it already has a part of the next request, it sets another deadline before it reads, or reads
// less than its buffer can hold. An idleRule tells the cases apart (net/http/server.go,
// conn.serve).
type idleTracker struct {
	phase atomic.Uint32
	stays atomic.Bool // the connection is never handed to the successor

	mu       sync.Mutex // held to set a deadline, except during a request
	sets     int        // how often the read deadline was set while idle
	deadline time.Time  // that http.Server has set last
}

// idleRule reports whether a Read waits for the next request, with no part of it in a buffer. The
// arguments are how often the read deadline was set since StateIdle, and how many bytes are wanted.
type idleRule func(sets, size int) bool

// idleWithBuffer returns the rule for a buffer of the given size.
func idleWithBuffer(buffer int) idleRule {
	return func(sets, size int) bool { return sets == 1 && size == buffer }
}

func (t *idleTracker) now() phase { return phase(t.phase.Load()) }

func (t *idleTracker) change(from, to phase) bool {
	return t.phase.CompareAndSwap(uint32(from), uint32(to))
}

// note notes a new state of the connection.
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

// setDeadline implements SetReadDeadline of a connection, by means of set.
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

// enter begins a Read. It reports whether that waits for the next request, and can be interrupted.
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

// interrupt ends a Read that waits for the next request. It reports false if there is none.
func (t *idleTracker) interrupt(set func(time.Time) error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.change(waiting, woken) {
		return false
	}
	_ = set(longAgo) // a dead connection reports that by itself
	return true
}

// leave begins to hand the connection over, in the Read that waits for the next request. It returns
// the deadline for the request, and reports false if the drain has just interrupted the Read.
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

// expired reports whether the connection has been idle for as long as http.Server allows.
func (t *idleTracker) expired() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return isPast(t.deadline)
}
