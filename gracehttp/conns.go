package gracehttp

import (
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// conns are the connections of a server. The zero value is ready to use.
type conns struct {
	open sync.Map // *conn by net.Conn, for each request; connections whose end net/http reports

	mu          sync.Mutex
	n           int // in open
	hijacked    map[*conn]struct{}
	lingering   map[*conn]*os.File // after their last responses
	sweepAt     int                // the number of hijacked ones at which closed ones are removed
	anyHijacked atomic.Bool        // since the start
	ended       int                // since begin
}

func (cs *conns) add(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.n++
	cs.open.Store(c.Conn, c)
}

// find returns the state kept for nc, or nil if nc is not tracked: the owner of the server may have
// served it elsewhere before.
func (cs *conns) find(nc net.Conn) *conn {
	c, _ := cs.open.Load(nc)
	found, _ := c.(*conn)
	return found
}

// isShown reports whether the owner's ConnState knew of a connection before http.Server did.
func (cs *conns) isShown(nc net.Conn) bool {
	c := cs.find(nc)
	return c != nil && c.shown
}

// note notes a new state of a connection.
func (cs *conns) note(nc net.Conn, state http.ConnState, readTimeout time.Duration) {
	c := cs.find(nc)
	if c == nil {
		return
	}
	c.enter(state, readTimeout)
	switch state {
	case http.StateClosed:
		cs.noteClosed(c)
	case http.StateHijacked:
		cs.noteHijacked(c)
	}
}

// noteClosed notes that net/http has closed a connection.
func (cs *conns) noteClosed(c *conn) {
	socket := c.takeLast()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.remove(c)
	switch {
	case c.handover != nil && c.handover.now() == gone:
	case socket == nil:
		cs.ended++
	default:
		cs.startLingering(c, socket)
	}
}

// startLingering counts the connection as open while it lingers; mu is held.
func (cs *conns) startLingering(c *conn, socket *os.File) {
	if cs.lingering == nil {
		cs.lingering = make(map[*conn]*os.File)
	}
	cs.lingering[c] = socket
	go func() { // ends with the client, soon, or when the connection is cut
		linger(socket, c.server.grace())
		_ = socket.Close() // nothing is written
		cs.mu.Lock()
		defer cs.mu.Unlock()
		delete(cs.lingering, c)
		cs.ended++
	}()
}

// remove forgets an open connection; mu is held.
func (cs *conns) remove(c *conn) {
	cs.n--
	cs.open.Delete(c.Conn)
}

// noteHijacked notes that a handler has the connection now.
func (cs *conns) noteHijacked(c *conn) {
	if socket := c.takeLast(); socket != nil { // the end of the connection is the handler's affair
		_ = socket.Close()
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.remove(c)
	if cs.hijacked == nil {
		cs.hijacked = make(map[*conn]struct{})
		cs.anyHijacked.Store(true)
	}
	cs.hijacked[c] = struct{}{}
	if len(cs.hijacked) > cs.sweepAt { // so that the closed ones do not pile up
		cs.sweep()
		cs.sweepAt = 2*len(cs.hijacked) + 16
	}
}

// noteEnd counts the end of a connection that net/http has not seen.
func (cs *conns) noteEnd() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.ended++
}

// sweep removes hijacked connections that are closed; mu is held.
func (cs *conns) sweep() {
	var descriptors fds.Index
	for c := range cs.hijacked {
		if c.ended(&descriptors) {
			delete(cs.hijacked, c)
			cs.ended++
		}
	}
}

// begin starts to count.
func (cs *conns) begin() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.sweep()
	cs.ended = 0
}

// count returns how many connections have ended since begin, and how many are left.
func (cs *conns) count() (ended, left int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.sweep()
	return cs.ended, cs.n + len(cs.hijacked) + len(cs.lingering)
}

// cut closes the sockets of all connections, hijacked ones included. One of the owner's that hangs
// does not keep the others open.
func (cs *conns) cut() {
	var cutting sync.WaitGroup
	cs.each(func(c *conn) { cutting.Go(c.cut) })
	for _, c := range cs.allHijacked() {
		cutting.Go(c.cut)
	}
	for _, socket := range cs.allLingering() {
		_ = socket.Close() // linger ends
	}
	cutting.Wait()
}

func (cs *conns) allLingering() []*os.File {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Values(cs.lingering))
}

func (cs *conns) allHijacked() []*conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Keys(cs.hijacked))
}

// each calls f for every connection that is not hijacked.
func (cs *conns) each(f func(*conn)) {
	cs.open.Range(func(_, c any) bool {
		f(c.(*conn))
		return true
	})
}
