package grace

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/transfer"
)

// attempt is one upgrade, in the old process.
type attempt struct {
	m         *Manager
	program   program // of the Manager, opened if it was checked
	ran       []Hook  // whose OnUpgrade has run
	succ      *successor
	state     *os.File // has the states of the application; nil if there are none
	onTrial   bool     // the successor accepts connections
	redirects transfer.Redirects
	decided   chan struct{} // closed when the attempt has succeeded or failed

	// For a successor that speaks the protocol of facebookgo/grace, see isReadySignal.
	passed    int           // how many sockets
	launched  chan struct{} // closed when succ and passed are set, or never will be
	greeted   chan struct{} // closed when Hello was sent
	signalled atomic.Bool
	recognize func() bool // ends the wait for Ready, unless that is over
}

// newAttempt begins a handoff with an identity of its own.
func newAttempt(m *Manager) *attempt {
	m.handoff.Store(rand.Text()[:12])
	return &attempt{m: m, program: m.program, decided: make(chan struct{}), launched: make(chan struct{}), greeted: make(chan struct{})}
}

func (a *attempt) pid() int {
	if a.succ == nil {
		return 0
	}
	return a.succ.child.PID()
}

// run returns when the successor serves, or everything is as it was before.
func (a *attempt) run(ctx context.Context) error {
	defer close(a.decided)
	defer a.forgetState()
	bounded, cancel := context.WithTimeoutCause(ctx, a.m.opts.upgradeTimeout, ErrTimeout)
	defer cancel()
	defer a.program.close()
	waiting, endWait := context.WithCancelCause(bounded)
	defer endWait(nil)
	a.recognize = func() bool {
		endWait(errForeign)
		return errors.Is(context.Cause(waiting), errForeign)
	}
	defer a.m.awaited.Store(nil)
	for _, step := range []struct {
		name Step
		ctx  context.Context //nolint:containedctx // of this call
		do   func(context.Context) error
	}{
		{StepRoom, bounded, a.makeRoom},
		{StepHooks, bounded, a.runHooks},
		{StepCheck, bounded, a.check},
		{StepState, bounded, a.encodeStates},
		{StepStart, waiting, a.start},
		{StepReady, waiting, a.awaitReady},
		{StepProbation, ctx, a.probe},
		{StepCommit, ctx, a.commit},
	} {
		err := context.Cause(step.ctx)
		if err == nil {
			err = step.do(step.ctx)
		}
		if errors.Is(err, errForeign) {
			a.yield()
			return nil
		}
		if err != nil {
			return a.rollBack(step.name, err)
		}
	}
	return nil
}

// makeRoom sees to it that no more generations drain at once than are allowed, this one included.
func (a *attempt) makeRoom(ctx context.Context) error {
	living := a.m.ancestors.living()
	excess := len(living) + 1 - a.m.opts.maxDraining
	if excess <= 0 {
		return nil
	}
	if !a.m.opts.endOldest {
		return fmt.Errorf("%w: %s, and WithMaxDraining allows %d with this one", ErrTooManyDraining, nameAll(living), a.m.opts.maxDraining)
	}
	for _, old := range living[:excess] {
		if err := a.m.evict(ctx, old, ErrTooManyDraining); err != nil {
			return err
		}
	}
	return nil
}

// nameAll lists generations, for an error.
func nameAll(all []*ancestor) string {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = fmt.Sprintf("%d (process %d)", a.Generation, a.PID)
	}
	return "generations " + strings.Join(names, ", ")
}

func (a *attempt) runHooks(ctx context.Context) (err error) {
	a.ran, err = a.m.hooks.upgrade(ctx)
	return err
}

// start lends the sockets to a new process, and tells it what they are.
func (a *attempt) start(ctx context.Context) error {
	m := a.m
	hello := &handoff.Hello{
		Version: handoff.Version, PID: os.Getpid(), Generation: m.generation + 1, Handoff: m.handoffID(), Drain: m.opts.drainTimeout,
	}
	env, err := m.program.environment(ctx) // not while the sockets are lent: it is the user's code
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		hello.Timeout = time.Until(deadline)
	}
	m.awaited.Store(a)
	err = a.launch(ctx, env, hello)
	a.passed = len(hello.Sockets)
	close(a.launched)
	defer close(a.greeted)
	if err != nil {
		return err
	}
	m.successor.Store(a.succ)
	m.emit(SuccessorStarted{PID: a.pid(), Executable: m.program.path, Sockets: len(hello.Sockets)})
	go a.hearOut() // ends with the attempt
	if err := a.program.opened.Unchanged(); err != nil {
		return err
	}
	err = a.succ.link.Flush(ctx)
	if err != nil && ctx.Err() == nil {
		return errors.Join(a.awaitReady(ctx), err) // it may have said why it has gone
	}
	return err
}

// launch starts the process, and fills in what it was passed.
func (a *attempt) launch(ctx context.Context, env []string, hello *handoff.Hello) error {
	sender, theirs, err := transfer.NewSender(a.m.wires.pair)
	if err != nil {
		return err
	}
	bequests, release := a.gather(hello, theirs)
	defer release()
	open, unpin := pin(bequests)
	defer unpin()
	hello.Extras = describe(open)
	if err := a.launchWith(ctx, env, open, hello); err != nil {
		sender.Close()
		return err
	}
	a.succ.sender = sender
	return nil
}

// launchWith lends the sockets until the process has them, and describes them in hello.
func (a *attempt) launchWith(ctx context.Context, env []string, open []bequest, hello *handoff.Hello) error {
	loan, err := a.m.sockets.Lend()
	if err != nil {
		return err
	}
	defer loan.Release()
	hello.Sockets = loan.Records
	a.succ, err = a.m.wires.launch(ctx, a.program, estate{
		env: env, sockets: loan.FDs, records: loan.Records, bequests: open,
		greet: func(l link) error { return l.Queue(hello) },
	})
	return err
}

// gather collects what the successor is to have beside the sockets and the link. The file is its
// end of the link for transfers, if there is one. release closes what is for the successor alone.
func (a *attempt) gather(hello *handoff.Hello, transfers *os.File) (all []bequest, release func()) {
	all = append(a.m.ancestors.bequests(), a.m.passing.bequests()...)
	var own []*os.File
	add := func(f *os.File, about handoff.ExtraFile) {
		if f != nil {
			own = append(own, f)
			all = append(all, bequest{conn: f, about: about})
		}
	}
	add(transfers, handoff.ExtraFile{Use: handoff.UseTransfers, Generation: a.m.generation})
	a.redirects = transfer.NewRedirects(a.m.receivers, a.m.wires.pair)
	for _, r := range a.redirects {
		add(r.End, handoff.ExtraFile{Use: handoff.UseTransfers, Generation: r.Generation})
	}
	add(process.Self(), handoff.ExtraFile{Use: handoff.UseProcess, PID: hello.PID, Generation: a.m.generation})
	if a.state != nil { // which is closed with the attempt
		all = append(all, bequest{conn: a.state, about: handoff.ExtraFile{Use: handoff.UseState}})
	}
	return all, func() { _ = handoff.CloseAll(own) } // nothing is written
}

// hearOut lets a receiver come to an end once the successor has ended: something that the successor started may still hold
// the other end of the link. After the commit that may be a later generation, which has something to say.
func (a *attempt) hearOut() {
	select {
	case <-a.succ.child.Exited():
		a.succ.link.StopWaiting()
	case <-a.decided:
	}
}

func (a *attempt) awaitReady(ctx context.Context) error {
	if err := a.expect(ctx, &handoff.Ready{}); err != nil {
		return err
	}
	a.m.awaited.Store(nil)    // it speaks our protocol
	return context.Cause(ctx) // what comes with the deadline comes too late
}

// commit lets the successor serve. From here on only the successor can make the upgrade fail: a context that ends while both
// believe that they may serve would leave the clients of one of them without an answer.
func (a *attempt) commit(ctx context.Context) error {
	a.m.ancestors.pause() // what they say next is for the successor
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), commitTimeout, ErrTimeout)
	defer cancel()
	if err := a.succ.link.Send(ctx, &handoff.Commit{Followed: a.m.ancestors.followed()}); err != nil {
		return errors.Join(a.expect(ctx, &handoff.Serving{}), err) // it may have said why it has gone
	}
	a.succ.committed = true
	if err := a.expect(ctx, &handoff.Serving{}); err != nil {
		return err
	}
	a.m.sockets.HandOver()
	a.m.shutGate()
	a.redirects.Send(ctx)
	return nil
}

// expect receives a message of the same type as want.
func (a *attempt) expect(ctx context.Context, want handoff.Message) error {
	got, err := a.receive(ctx)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the successor has ended, or has closed its connection, before it sent %s: %w", handoff.Name(want), err)
	}
	if err == nil && handoff.Name(got) != handoff.Name(want) {
		return fmt.Errorf("%w: the successor sent %s instead of %s", ErrProtocol, handoff.Name(got), handoff.Name(want))
	}
	return err
}

// receive gives the successor's next message; if that is Failed, the reason is the error.
func (a *attempt) receive(ctx context.Context) (handoff.Message, error) {
	got, err := a.succ.link.Receive(ctx)
	if failed, ok := got.(*handoff.Failed); ok {
		a.succ.refused = true
		return nil, fmt.Errorf("the successor cannot serve: %s", failed.Reason)
	}
	return got, err
}

// rollBack makes everything as it was before the upgrade, and describes what went wrong.
func (a *attempt) rollBack(step Step, cause error) error {
	upgradeErr := &UpgradeError{Step: step, PID: a.pid()}
	errs := []error{cause}
	if a.succ != nil {
		var patience time.Duration
		if a.onTrial {
			patience = a.m.opts.drainTimeout
		}
		errs = append(errs, a.succ.discard(a.m.draining, cause, patience))
		upgradeErr.State = a.succ.state()
		a.succ.sender.Close()
		a.m.successor.Store(nil)
	}
	a.redirects.Close()
	a.m.sockets.TakeBack()
	a.m.ancestors.pause()
	a.m.ancestors.follow()
	errs = append(errs, a.m.pidFile.restore())
	ctx, cancel := context.WithTimeout(a.m.draining, a.m.opts.upgradeTimeout)
	defer cancel()
	errs = append(errs, a.m.hooks.upgradeFailed(ctx, a.ran, cause))
	upgradeErr.Err = join(errs)
	return upgradeErr
}

// join is errors.Join that leaves a single error as it is.
func join(errs []error) error {
	var found error
	for _, err := range errs {
		switch {
		case err == nil:
		case found == nil:
			found = err
		default:
			found = errors.Join(found, err)
		}
	}
	return found
}
