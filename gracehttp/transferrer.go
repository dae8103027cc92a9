package gracehttp

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/go-grace/grace"
)

// maxAwake is how many connections are taken out of their wait for a request at once, to be handed over: until it is their turn,
// the others can be served here.
const maxAwake = 32

// transferrer is what a server hands to the successor.
type transferrer struct {
	send         func(ctx context.Context, name string, c syscall.Conn, state []byte) error // of the Manager
	hasSuccessor atomic.Bool                                                                // there is a successor that takes connections
	transferred  atomic.Int64
	awake        chan struct{} // has a place for each connection that is taken out of its wait
}

func newTransferrer(m *grace.Manager) transferrer {
	return transferrer{send: m.Transfer, awake: make(chan struct{}, maxAwake)}
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
type waiter interface{ wake() bool }

// wake takes a connection out of its wait when there is a place, which the connection leaves by itself.
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

// handOver has all connections without a request leave for the successor. The others follow by themselves when their requests are
// done.
func (s *server) handOver(ctx context.Context) {
	for _, l := range s.allListeners() {
		for _, p := range l.idleConns() {
			s.transfers.wake(ctx, p)
		}
	}
	s.conns.each(func(c *conn) {
		if c.handover != nil {
			s.transfers.wake(ctx, c.handover)
		}
	})
}
