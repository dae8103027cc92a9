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

// passage finds out when a connection is between two requests: nothing of the next one is in a buffer of http.Server, and nobody
// else reads. It sees what http.Server does with the connection, and does no input or output itself.
//
// After an answer, http.Server reports StateIdle, sets the deadline for the idle time, and reads; if it has something of the next
// request already, it sets another deadline before it reads, or reads less than its buffer can hold. An idleRule judges that.
// (net/http/server.go, conn.serve.)
type passage struct {
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

func (p *passage) now() phase { return phase(p.phase.Load()) }

func (p *passage) change(from, to phase) bool {
	return p.phase.CompareAndSwap(uint32(from), uint32(to))
}

// note is a change of the state of the connection.
func (p *passage) note(state http.ConnState) {
	switch state {
	case http.StateIdle:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sets = 0
		p.change(busy, idle)
	case http.StateActive:
		p.change(idle, busy) // the request was in a buffer
	case http.StateHijacked:
		p.stays.Store(true)
	}
}

// setDeadline is SetReadDeadline of a connection, for which set does it.
func (p *passage) setDeadline(t time.Time, set func(time.Time) error) error {
	if p.now() == busy {
		return set(t)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	switch p.now() {
	case woken, leaving, gone:
		return nil // resume sets it
	case idle:
		p.sets++
	}
	return set(t)
}

// enter begins a Read. It reports whether it is one for the next request, which can be interrupted.
func (p *passage) enter(size int, rule idleRule) bool {
	if p.now() != idle {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !rule(p.sets, size) {
		p.change(idle, busy)
		return false
	}
	return p.change(idle, waiting)
}

// interrupt ends a Read for the next request. It reports false if there is none.
func (p *passage) interrupt(set func(time.Time) error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.change(waiting, woken) {
		return false
	}
	_ = set(longAgo) // a connection that is gone says so
	return true
}

// leave begins to hand the connection over, in the Read for the next request. It gives the deadline for that, and reports false if
// the drain has interrupted the Read just now.
func (p *passage) leave(from phase) (deadline time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deadline, p.change(from, leaving)
}

// resume undoes interrupt and leave.
func (p *passage) resume(next phase, set func(time.Time) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase.Store(uint32(next))
	_ = set(p.deadline)
}

// expired reports whether the connection was idle for as long as http.Server allows.
func (p *passage) expired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return isPast(p.deadline)
}
