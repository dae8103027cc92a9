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

// handing is what a server hands to the successor.
type handing struct {
	transfer func(ctx context.Context, name string, c syscall.Conn, state []byte) error // of the Manager
	taker    atomic.Bool                                                                // there is a successor that takes connections
	passed   atomic.Int64
	awake    chan struct{} // has a place for each connection that is taken out of its wait
}

func newHanding(m *grace.Manager) handing {
	return handing{transfer: m.Transfer, awake: make(chan struct{}, maxAwake)}
}

// give reports whether the successor has taken a connection.
func (h *handing) give(name string, c net.Conn, state string) bool {
	sc, ok := c.(syscall.Conn)
	if !ok || !h.taker.Load() {
		return false
	}
	err := h.transfer(context.Background(), name, sc, []byte(state)) // bounded by the drain
	switch {
	case err == nil:
		h.passed.Add(1)
	case errors.Is(err, grace.ErrNoSuccessor):
		h.taker.Store(false)
	}
	return err == nil
}

// sleeper is a connection that waits for a request.
type sleeper interface{ wake() bool }

// wake takes a connection out of its wait when there is a place, which the connection leaves by itself.
func (h *handing) wake(ctx context.Context, c sleeper) {
	select {
	case h.awake <- struct{}{}:
		if !c.wake() {
			h.leave()
		}
	case <-ctx.Done():
	}
}

func (h *handing) leave() { <-h.awake }

// handOver has all connections without a request leave for the successor. The others follow by themselves when their requests are
// done.
func (s *server) handOver(ctx context.Context) {
	for _, l := range s.allListeners() {
		for _, p := range l.parked() {
			s.handing.wake(ctx, p)
		}
	}
	s.conns.each(func(c *conn) {
		if c.handover != nil {
			s.handing.wake(ctx, c.handover)
		}
	})
}
