package gracehttp

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// conns are the connections of a server. The zero value is ready to use.
type conns struct {
	open sync.Map // of *conn by net.Conn, for each request; those that net/http tells the end of

	mu          sync.Mutex
	n           int // in open
	hijacked    map[*conn]struct{}
	sweepAt     int         // so many hijacked ones are looked through
	anyHijacked atomic.Bool // since the start
	ended       int         // since begin
}

func (cs *conns) add(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.n++
	cs.open.Store(c.Conn, c)
}

// find gives what is known of a connection; nil if it is of a server that its owner has served elsewhere, before.
func (cs *conns) find(nc net.Conn) *conn {
	c, _ := cs.open.Load(nc)
	found, _ := c.(*conn)
	return found
}

// note is a change of a connection's state.
func (cs *conns) note(nc net.Conn, state http.ConnState, readTimeout time.Duration) {
	c := cs.find(nc)
	if c == nil {
		return
	}
	c.enter(state, readTimeout)
	if state == http.StateClosed || state == http.StateHijacked {
		cs.leave(c, state)
	}
}

func (cs *conns) leave(c *conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.n--
	cs.open.Delete(c.Conn)
	if state == http.StateClosed {
		if c.handover == nil || c.handover.now() != gone {
			cs.ended++
		}
		return
	}
	if cs.hijacked == nil {
		cs.hijacked = make(map[*conn]struct{})
		cs.anyHijacked.Store(true)
	}
	cs.hijacked[c] = struct{}{}
	if len(cs.hijacked) > cs.sweepAt { // so that those which are closed do not pile up
		cs.sweep()
		cs.sweepAt = 2*len(cs.hijacked) + 16
	}
}

// end counts the end of a connection that net/http has not seen.
func (cs *conns) end() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.ended++
}

// sweep forgets hijacked connections that are closed; mu is held.
func (cs *conns) sweep() {
	for c := range cs.hijacked {
		if c.ended() {
			delete(cs.hijacked, c)
			cs.ended++
		}
	}
}

// begin begins to count.
func (cs *conns) begin() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.sweep()
	cs.ended = 0
}

// count tells how many have ended since begin, and how many are left.
func (cs *conns) count() (ended, left int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.sweep()
	return cs.ended, cs.n + len(cs.hijacked)
}

// each calls f for all that are not hijacked.
func (cs *conns) each(f func(*conn)) {
	cs.open.Range(func(_, c any) bool {
		f(c.(*conn))
		return true
	})
}
