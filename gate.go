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
	gate *gate

	mu       sync.Mutex
	closed   bool
	deadline time.Time
	changed  chan struct{} // closed when closed or deadline change; nil while nobody waits
}

// pass waits until the gate is open. Once it is, it costs one atomic load.
func (t *turnstile) pass() error {
	for !t.gate.isOpen.Load() {
		if err := t.wait(); err != nil {
			return err
		}
	}
	return nil
}

// wait returns nil when something has changed.
func (t *turnstile) wait() error {
	closed, deadline, changed := t.look()
	if closed {
		return net.ErrClosed
	}
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-t.gate.opened:
		return nil
	case <-changed:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	}
}

func (t *turnstile) look() (closed bool, deadline time.Time, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.closed, t.deadline, t.changed
}

func (t *turnstile) setDeadline(d time.Time) {
	t.change(func() { t.deadline = d })
}

func (t *turnstile) close() {
	t.change(func() { t.closed = true })
}

func (t *turnstile) change(set func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set()
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}
