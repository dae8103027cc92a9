package grace

import (
	"context"
	"errors"
	"sync"

	"github.com/go-grace/grace/internal/wait"
)

// State is where a process is in its life.
type State string

// The states of a process, in their order. An upgrade that fails leads from upgrading back to
// serving.
const (
	StateStarting  State = "starting"  // not ready yet
	StateProbation State = "probation" // a successor that accepts beside the old process
	StateServing   State = "serving"
	StateUpgrading State = "upgrading" // serving, and starting a successor
	StateStopping  State = "stopping"  // serving for the last while, see WithStopDelay
	StateDraining  State = "draining"  // accepts nothing more
	StateDone      State = "done"      // its work is finished
)

// lifecycle owns the state, and lets only one operation at a time change it: getting ready,
// upgrading or stopping.
type lifecycle struct {
	mu    sync.Mutex
	state State
	op    *operation // that is under way, if any
	// ending is set as soon as Shutdown is called: no new operation begins.
	ending   bool
	stopping chan struct{} // closed when the process begins to stop without a successor
	failed   error         // why a successor will never serve: there is no second try
	reason   error         // why the process drains
	done     chan struct{} // closed when the process must accept nothing more
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
	return &lifecycle{
		state: StateStarting, stopping: make(chan struct{}),
		done: make(chan struct{}), drained: make(chan struct{}),
	}
}

// errAlreadyReady tells Ready that there is nothing to do.
var errAlreadyReady = errors.New("already ready")

// beginReady waits for another call of Ready to end, and starts this one unless that one has done
// the work.
func (l *lifecycle) beginReady(ctx context.Context) (context.Context, *operation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.starting() && l.op != nil {
		if err := l.await(ctx, l.op.ended); err != nil {
			return nil, nil, err
		}
	}
	if err := l.whyNotReady(); err != nil {
		return nil, nil, err
	}
	ctx, op := l.begin(ctx)
	return ctx, op, nil
}

// whyNotReady returns why this process does not get ready, or nil; mu is held.
func (l *lifecycle) whyNotReady() error {
	switch {
	case l.reason != nil:
		return l.reason
	case l.failed != nil:
		return l.failed
	case !l.starting():
		return errAlreadyReady
	case l.ending:
		return ErrShutdown
	}
	return nil
}

// readiness returns what beginReady would, without waiting or beginning anything.
func (l *lifecycle) readiness() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whyNotReady()
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

// starting reports whether this process is not the serving one yet; mu is held.
func (l *lifecycle) starting() bool { return l.state == StateStarting || l.state == StateProbation }

// stopped returns why this process can no longer have a successor, or nil.
func (l *lifecycle) stopped() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil && l.ending {
		return ErrShutdown
	}
	return l.reason
}

// cause returns why done is closed, or nil.
func (l *lifecycle) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// whyNot returns why a successor that ends has not served.
func (l *lifecycle) whyNot() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	return ErrShutdown
}

// awaitUpgrade waits for the end of an upgrade that is under way.
func (l *lifecycle) awaitUpgrade() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.state == StateUpgrading && l.op != nil {
		_ = l.await(context.Background(), l.op.ended) // an upgrade has a timeout
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
	case l.starting():
		return nil, nil, ErrNotReady
	case l.state == StateUpgrading:
		return nil, nil, ErrUpgradeInProgress
	case inCallback():
		return nil, nil, ErrCallback
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
	op.finish()
	l.state = next
	if next == StateDraining {
		l.stop(ErrUpgraded)
	}
}

// finish lets the next operation begin; mu is held.
func (op *operation) finish() {
	op.cancel(nil)
	close(op.ended)
	op.life.op = nil
}

// onProbation says that this process accepts connections from now on.
func (op *operation) onProbation() {
	op.life.mu.Lock()
	defer op.life.mu.Unlock()
	op.life.state = StateProbation
}

// fail finishes the operation of a successor that will never serve. It reports whether the drain
// begins, because the process was on probation.
func (op *operation) fail(reason error) (drains bool) {
	l := op.life
	l.mu.Lock()
	defer l.mu.Unlock()
	op.finish()
	l.failed = reason
	if l.state != StateProbation {
		return false
	}
	l.stop(reason)
	return true
}

// fail makes a successor one that will never serve. If Ready is under way, that learns the reason,
// and ended is closed when it is over.
func (l *lifecycle) fail(reason error) (ended <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failed != nil:
		return nil, nil
	case l.reason != nil:
		return nil, l.reason
	case !l.starting():
		return nil, ErrCommitted
	case l.op != nil:
		l.op.cancel(reason)
		return l.op.ended, nil
	}
	l.failed = reason
	return nil, nil
}

// failure is nil in a successor that has failed.
func (l *lifecycle) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		return ErrCommitted
	}
	return nil
}

// stop begins the drain; mu is held.
func (l *lifecycle) stop(reason error) {
	l.state, l.reason = StateDraining, reason
	close(l.done)
}

// announceShutdown cancels what is under way, and lets nothing new begin.
func (l *lifecycle) announceShutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	if l.op != nil {
		l.op.cancel(ErrShutdown)
	}
}

// beginShutdown cancels what is under way, and lets nothing new begin. It reports whether the
// caller is the one who has to stop the process, and whether that has served until now.
func (l *lifecycle) beginShutdown() (first, served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	for l.op != nil {
		l.op.cancel(ErrShutdown)
		_ = l.await(context.Background(), l.op.ended) // soon: it is cancelled
	}
	if l.reason != nil || wait.IsClosed(l.stopping) {
		return false, false
	}
	close(l.stopping)
	return true, l.state == StateServing
}

// shutDown begins the drain after beginShutdown.
func (l *lifecycle) shutDown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop(ErrShutdown)
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
	if l.ending && (l.state == StateServing || l.state == StateUpgrading) {
		return StateStopping
	}
	return l.state
}
