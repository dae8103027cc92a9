// Package gate lets a process take connections and packets from its sockets while it serves, and at
// no other time.
//
// The sockets of a process stand behind one [Gate], which is in one of three states:
//
//   - not yet open: the process is a successor that waits for its commit. Its servers run already.
//   - open: the process serves. The gate costs a call a few atomic operations.
//   - shut: a successor serves. The process finishes what it has accepted and accepts nothing more.
//
// At a gate that is not open, Accept and every method that reads wait. The wait ends with
// [net.ErrClosed] when the socket is closed, and with [os.ErrDeadlineExceeded] at the user's
// deadline.
//
// [Gate.Shut] interrupts the calls that are blocked in the system and waits until they have left
// it. A connection or packet that comes after Shut has returned is therefore never taken by this
// process: the successor, which has the same sockets, takes it.
//
// The gate does not cover a duplicate made by the File method of a socket, nor what a program does
// with the descriptor inside of RawConn.Control.
package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Gate holds back those who accept and read, before a process serves and after that. Its methods
// can be called from several goroutines.
type Gate struct {
	isOpen atomic.Bool   // set by Open; Shut leaves it
	opened chan struct{} // closed by Open

	mu       sync.Mutex
	isShut   bool
	released bool
	waiters  map[*waiter]struct{} // one for each socket that is not closed
}

// New returns a gate that is not open yet.
func New() *Gate {
	return &Gate{opened: make(chan struct{}), waiters: make(map[*waiter]struct{})}
}

// Open lets calls pass, unless the gate is shut.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut || g.isOpen.Load() {
		return
	}
	g.isOpen.Store(true)
	close(g.opened)
}

// IsOpen reports whether calls pass.
func (g *Gate) IsOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.isOpen.Load() && !g.isShut
}

// Shut keeps calls out forever. It interrupts the calls that are in the system and returns when all
// of them have left it. None of them returns the interruption: they wait at the gate instead.
//
// The only calls that cannot be interrupted are those that never yield to the runtime: a function
// passed to RawConn.Read that blocks, or an Accept after the program has put its socket into
// blocking mode. If the context ends before they do, the error names their sockets. The gate is
// shut all the same, and nothing but these calls can take anything from the system.
func (g *Gate) Shut(ctx context.Context) error {
	waiters := g.beginShut()
	for _, w := range waiters {
		w.shut() // all first, so that they leave at the same time
	}
	errs := make([]error, len(waiters))
	for i, w := range waiters {
		errs[i] = w.awaitCalls(ctx)
	}
	return errors.Join(errs...)
}

// beginShut returns the waiters that are not shut. A waiter that is added later is shut by add.
func (g *Gate) beginShut() []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = true
	return g.list()
}

// Release ends every wait, present and future, with [net.ErrClosed]. The caller has closed all
// sockets.
func (g *Gate) Release() {
	for _, w := range g.beginRelease() {
		w.end()
	}
}

func (g *Gate) beginRelease() []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.released = true
	return g.list()
}

// list returns the waiters; mu is held.
func (g *Gate) list() []*waiter {
	all := make([]*waiter, 0, len(g.waiters))
	for w := range g.waiters {
		all = append(all, w)
	}
	return all
}

// add registers the waiter of a new socket and brings it into the state of the gate.
func (g *Gate) add(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiters[w] = struct{}{}
	if g.isShut {
		w.shut()
	}
	if g.released {
		w.end()
	}
}

// remove forgets the waiter of a socket that is closed.
func (g *Gate) remove(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.waiters, w)
}
