package grace

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// gate holds the servers of a successor until its handoff is committed: they start earlier, and if a later step of the
// start-up fails, they must not have taken connections with them. Until then the old process serves.
type gate struct {
	isOpen atomic.Bool
	opened chan struct{}
	once   sync.Once
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() {
	g.once.Do(func() {
		g.isOpen.Store(true)
		close(g.opened)
	})
}

// turnstile is the gate as one socket sees it, whose owner may close it or set a deadline while it waits.
type turnstile struct {
	gate   *gate
	closed chan struct{}
	once   sync.Once

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // closed when the deadline is changed
}

func newTurnstile(g *gate) *turnstile {
	return &turnstile{gate: g, closed: make(chan struct{}), changed: make(chan struct{})}
}

// pass waits until the gate is open. Once it is, it costs one atomic load.
func (t *turnstile) pass() error {
	if t.gate.isOpen.Load() {
		return nil
	}
	for {
		again, err := t.wait()
		if !again {
			return err
		}
	}
}

func (t *turnstile) wait() (again bool, err error) {
	t.mu.Lock()
	deadline, changed := t.deadline, t.changed
	t.mu.Unlock()
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-t.gate.opened:
		return false, nil
	case <-t.closed:
		return false, net.ErrClosed
	case <-expired:
		return false, os.ErrDeadlineExceeded
	case <-changed:
		return true, nil
	}
}

func (t *turnstile) setDeadline(d time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline = d
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *turnstile) close() { t.once.Do(func() { close(t.closed) }) }
