package gracehttp

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/go-grace/grace"
)

// maxAwake is how many connections are woken from their wait for a request at once: more than can
// be under way to the successor, so that some are always ready to go. Until it is their turn, the
// others can be served here.
const maxAwake = 64

// transferrer hands connections of a server to the successor.
type transferrer struct {
	send         sendFunc
	hasSuccessor atomic.Bool   // there is a successor that takes connections
	transferred  atomic.Int64  // how many it has taken
	awake        chan struct{} // has a slot for each connection that is woken
	freeMemory   func()        // of the connections that it has taken
}

// sendFunc is the type of [grace.Manager.Transfer].
type sendFunc = func(ctx context.Context, name string, c syscall.Conn, state []byte) error

func newTransferrer(m *grace.Manager) transferrer {
	return transferrer{
		send: m.Transfer, awake: make(chan struct{}, maxAwake), freeMemory: freeMemory,
	}
}

// transfer reports whether the successor has taken a connection.
func (t *transferrer) transfer(name string, c net.Conn, state string) bool {
	sc, ok := c.(syscall.Conn)
	if !ok || !t.hasSuccessor.Load() {
		return false
	}
	err := t.send(context.Background(), name, sc, []byte(state)) // bounded by the drain
	switch {
	case err == nil:
		t.transferred.Add(1)
	case errors.Is(err, grace.ErrNoSuccessor):
		t.hasSuccessor.Store(false)
	}
	return err == nil
}

// waiter is a connection that waits for a request.
type waiter interface {
	// wake interrupts the wait, and reports whether there was one.
	wake() bool
}

// wake wakes a connection as soon as a slot is free. The connection frees the slot.
func (t *transferrer) wake(ctx context.Context, c waiter) {
	select {
	case t.awake <- struct{}{}:
		if !c.wake() {
			t.freeSlot()
		}
	case <-ctx.Done():
	}
}

func (t *transferrer) freeSlot() { <-t.awake }

// handOver makes all connections without a request leave for the successor. The others follow by
// themselves after their requests.
func (s *server) handOver(ctx context.Context) {
	for _, l := range s.allListeners() {
		for _, c := range l.idleConns() {
			s.transfers.wake(ctx, c)
		}
	}
	s.conns.each(func(c *conn) {
		if c.handover != nil {
			s.transfers.wake(ctx, c.handover)
		}
	})
}
