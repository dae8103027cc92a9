package grace

import (
	"context"
	"errors"
	"sync"
)

// State is where a process is in its life.
type State string

// The states of a process, in their order. An upgrade that fails leads from upgrading back to serving.
const (
	StateStarting  State = "starting"
	StateServing   State = "serving"
	StateUpgrading State = "upgrading" // serving, and starting a successor
	StateDraining  State = "draining"  // accepts no more
	StateDone      State = "done"      // its work is finished
)

// lifecycle owns the state, and lets only one operation at a time change it: getting ready, upgrading or stopping.
type lifecycle struct {
	mu    sync.Mutex
	state State
	op    *operation // that is under way, if any
	// ending is set as soon as Shutdown is called: no new operation begins.
	ending bool
	reason error         // why the process drains: ErrUpgraded or ErrShutdown
	done   chan struct{} // closed when the process must accept no more
	// drained is closed when the drain has ended; err, which is set before, is how.
	drained chan struct{}
	err     error
}

// operation is a call of Ready or Upgrade.
type operation struct {
	life   *lifecycle
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

func newLifecycle() *lifecycle {
	return &lifecycle{state: StateStarting, done: make(chan struct{}), drained: make(chan struct{})}
}

// errAlreadyReady tells Ready that there is nothing to do.
var errAlreadyReady = errors.New("already ready")

// beginReady waits for another call of Ready to end, and starts this one unless that one has done the work.
func (l *lifecycle) beginReady(ctx context.Context) (context.Context, *operation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.state == StateStarting && l.op != nil {
		if err := l.await(ctx, l.op.ended); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case l.reason != nil:
		return nil, nil, l.reason
	case l.state != StateStarting:
		return nil, nil, errAlreadyReady
	case l.ending:
		return nil, nil, ErrShutdown
	}
	ctx, op := l.begin(ctx)
	return ctx, op, nil
}

// await releases mu until the channel is closed.
func (l *lifecycle) await(ctx context.Context, ended <-chan struct{}) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginUpgrade turns serving into upgrading.
func (l *lifecycle) beginUpgrade(ctx context.Context) (context.Context, *operation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.reason != nil:
		return nil, nil, l.reason
	case l.ending:
		return nil, nil, ErrShutdown
	case l.state == StateStarting:
		return nil, nil, ErrNotReady
	case l.state == StateUpgrading:
		return nil, nil, ErrUpgradeInProgress
	}
	l.state = StateUpgrading
	ctx, op := l.begin(ctx)
	return ctx, op, nil
}

func (l *lifecycle) begin(ctx context.Context) (context.Context, *operation) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.op = &operation{life: l, cancel: cancel, ended: make(chan struct{})}
	return ctx, l.op
}

// end finishes the operation, and moves to the next state.
func (op *operation) end(next State) {
	l := op.life
	l.mu.Lock()
	defer l.mu.Unlock()
	op.cancel(nil)
	close(op.ended)
	l.op, l.state = nil, next
	if next == StateDraining {
		l.stop(ErrUpgraded)
	}
}

// stop begins the drain; mu is held.
func (l *lifecycle) stop(reason error) {
	l.state, l.reason = StateDraining, reason
	close(l.done)
}

// beginShutdown cancels what is under way, and begins the drain. It reports whether it did: false if another one had begun
// before.
func (l *lifecycle) beginShutdown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	for l.op != nil {
		l.op.cancel(ErrShutdown)
		_ = l.await(context.Background(), l.op.ended) // an operation ends soon after it is cancelled
	}
	if l.reason != nil {
		return false
	}
	l.stop(ErrShutdown)
	return true
}

// finish ends the drain.
func (l *lifecycle) finish(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.err = StateDone, err
	close(l.drained)
}

func (l *lifecycle) current() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}
