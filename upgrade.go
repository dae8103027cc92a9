package grace

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/legacy"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// Upgrade replaces this process with a new one. It runs the OnUpgrade hooks and the check of
// [WithCheck], has the states of [Manager.PassState] encoded, starts the executable again with the
// sockets of this process and the files of [Manager.PassFile], waits until the new process is
// ready, and lets it serve. When Upgrade returns nil, the new process serves and this one accepts
// nothing more: Done is closed, and it drains. After an error this process keeps serving as before,
// and Upgrade may be called again.
//
// When the context ends before the successor is told to serve, or the successor is not ready within
// the upgrade timeout, it is killed.
//
// Errors: [ErrNotReady], [ErrUpgradeInProgress], [ErrUpgraded] and [ErrShutdown] if there was
// nothing to begin; after that an [*UpgradeError] that matches the cause, such as [ErrTimeout] or
// the cause of the context. If it matches [errors.ErrUnsupported], the platform cannot pass sockets
// to a process, or this process is PID 1 or another one whose end would end its container, see
// [WithoutContainerCheck].
func (m *Manager) Upgrade(ctx context.Context) error {
	if err := m.upgradable(); err != nil {
		return err
	}
	ctx, op, err := m.life.beginUpgrade(ctx)
	if err != nil {
		return err
	}
	u := newUpgrade(m)
	m.upgrade.Store(u)
	m.emit(ctx, graceevent.UpgradeStarted{})
	start := time.Now()
	err = u.run(ctx)
	next := StateDraining
	if err != nil {
		next = StateServing
	}
	op.end(next)
	m.emit(ctx, graceevent.UpgradeFinished{
		Duration: time.Since(start), Successor: u.pid(), Err: err,
	})
	if next == StateDraining {
		go m.drain(u.child, m.opts.drainTimeout) // ends with the drain, for which Wait waits
	}
	return err
}

// upgradable says why a process like this one cannot be replaced.
func (m *Manager) upgradable() error {
	if !process.Supported {
		return fmt.Errorf("grace: sockets cannot be passed to a process on %s: %w",
			runtime.GOOS, errors.ErrUnsupported)
	}
	if os.Getpid() == 1 {
		return fmt.Errorf("grace: this process is PID 1, and after an upgrade its end would be"+
			" that of the container or PID namespace: replace the container instead: %w",
			errors.ErrUnsupported)
	}
	if m.containerEnd != "" && !m.opts.ignoreContainer {
		return fmt.Errorf("grace: the container would end with this process after an upgrade,"+
			" because %s: replace the container instead, or use WithoutContainerCheck if that is"+
			" wrong: %w", m.containerEnd, errors.ErrUnsupported)
	}
	return nil
}

// upgrade is one call of Upgrade, in the old process.
type upgrade struct {
	m         *Manager
	id        string   // of the handoff
	program   program  // of the Manager, opened if it was checked
	ran       []Hook   // whose OnUpgrade has run
	state     *os.File // has the states of the application; nil if there are none
	child     *child
	successor atomic.Pointer[Process] // of child; nil when it was ended
	started   time.Time               // of child
	probation bool                    // the successor accepts connections
	redirects transfer.Redirects
	decided   chan struct{} // closed when the upgrade has succeeded or failed

	legacy    *legacy.Child
	recognize func() bool // ends the wait for Ready, unless that is over
}

// newUpgrade begins a handoff with an identity of its own.
func newUpgrade(m *Manager) *upgrade {
	return &upgrade{
		m: m, id: rand.Text()[:12], program: m.program, decided: make(chan struct{}),
		legacy: legacy.NewChild(), recognize: func() bool { return false },
	}
}

func (u *upgrade) pid() int {
	if u.child == nil {
		return 0
	}
	return u.child.PID()
}

// run returns when the successor serves, or everything is as it was before.
func (u *upgrade) run(ctx context.Context) error {
	defer close(u.decided)
	defer u.closeState()
	bounded, cancel := context.WithTimeoutCause(ctx, u.m.opts.upgradeTimeout, ErrTimeout)
	defer cancel()
	defer u.program.close()
	waiting, endWait := u.outlastSignal(bounded)
	defer endWait(nil)
	u.recognize = func() bool {
		endWait(legacy.ErrServes)
		return errors.Is(context.Cause(waiting), legacy.ErrServes)
	}
	defer u.legacy.Dismiss()
	for _, step := range []struct {
		name Step
		ctx  context.Context //nolint:containedctx // of this call
		do   func(context.Context) error
	}{
		{StepRoom, bounded, u.makeRoom},
		{StepHooks, bounded, u.runHooks},
		{StepCheck, bounded, u.check},
		{StepState, bounded, u.encodeStates},
		{StepStart, waiting, u.start},
		{StepReady, waiting, u.awaitReady},
		{StepProbation, ctx, u.probe},
		{StepCommit, ctx, u.commit},
	} {
		err := context.Cause(step.ctx)
		if err == nil || step.name == StepReady { // what has come counts, see awaitReady
			err = step.do(step.ctx)
		}
		if errors.Is(err, legacy.ErrServes) {
			u.yield(ctx)
			return nil
		}
		if err != nil {
			return u.rollBack(ctx, step.name, err)
		}
	}
	return nil
}

// makeRoom sees to it that no more generations drain at once than are allowed, this one included.
func (u *upgrade) makeRoom(ctx context.Context) error {
	living := u.m.older.Living()
	excess := len(living) + 1 - u.m.opts.maxDraining
	if excess <= 0 {
		return nil
	}
	if !u.m.opts.endOldest {
		return fmt.Errorf("%w: %s, and WithMaxDraining allows %d with this one",
			ErrTooManyDraining, generation.Names(living), u.m.opts.maxDraining)
	}
	for _, old := range living[:excess] {
		if err := u.m.older.Evict(ctx, old, ErrTooManyDraining); err != nil {
			return err
		}
	}
	return nil
}

func (u *upgrade) runHooks(ctx context.Context) (err error) {
	u.ran, err = u.m.hooks.upgrade(ctx)
	return err
}

// check opens the program, so that nothing else is started, and has the application look at it.
func (u *upgrade) check(ctx context.Context) error {
	check, name := u.m.opts.check, u.program.path
	if check == nil {
		return nil
	}
	u.m.emit(ctx, graceevent.CheckStarted{Executable: name})
	start := time.Now()
	err := u.program.open()
	if err == nil {
		path := u.program.opened.Path()
		err = call(ctx, hookGrace, func(ctx context.Context) error { return check(ctx, path) })
	}
	if err != nil {
		err = fmt.Errorf("check of %s: %w", name, err)
	}
	u.m.emit(ctx, graceevent.CheckFinished{Executable: name, Duration: time.Since(start), Err: err})
	return err
}

// awaitReady returns nil if the successor is ready, even if the time has run out: a message that
// has come by the time this process looks counts. The caller's context still has to hold.
func (u *upgrade) awaitReady(ctx context.Context) error {
	if err := u.expect(ctx, &handoff.Ready{}); err != nil {
		return err
	}
	u.legacy.Dismiss() // it speaks our protocol
	u.m.emit(ctx, graceevent.SuccessorReady{PID: u.pid(), Duration: time.Since(u.started)})
	if cause := context.Cause(ctx); !errors.Is(cause, ErrTimeout) {
		return cause
	}
	return nil
}

// commitTimeout is how long a successor may take from Commit to Serving, which takes it no time. If
// this process is stopped meanwhile, or the whole machine, that hardly counts.
const commitTimeout = 10 * time.Second

// commit lets the successor serve. From here on only the successor can make the upgrade fail: a
// context that ends while both believe that they may serve would leave the clients of one of them
// without an answer.
func (u *upgrade) commit(ctx context.Context) error {
	u.m.older.Pause() // what they say next is for the successor
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	uncancelled := context.WithoutCancel(ctx)
	bounded, cancel := wait.WithTimeout(uncancelled, commitTimeout, ErrTimeout)
	defer cancel()
	err := u.child.link.Send(bounded, &handoff.Commit{Followed: u.m.older.Followed()})
	if err != nil {
		// It may have said why it has gone.
		return errors.Join(u.expect(bounded, &handoff.Serving{}), err)
	}
	u.child.committed = true
	if err := u.expect(bounded, &handoff.Serving{}); err != nil {
		return err
	}
	u.m.handOver(ctx)
	u.redirects.Send(bounded)
	u.m.emit(ctx, graceevent.Committed{})
	return nil
}

// shutTimeout bounds the wait for calls that take something from the system. They end at once,
// unless they block a thread.
const shutTimeout = time.Second

// handOver leaves the sockets to the successor: this process takes nothing more from them.
func (m *Manager) handOver(ctx context.Context) {
	m.sockets.HandOver()
	bounded, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), shutTimeout, ErrTimeout)
	defer cancel()
	if err := m.gate.Shut(bounded); err != nil {
		m.emit(ctx, graceevent.StillAccepting{Err: err})
	}
}

// yield is the end of an upgrade whose successor serves, and cannot be told anything.
func (u *upgrade) yield(ctx context.Context) {
	m := u.m
	_ = u.child.link.Close() // a later successor that finds the other end sees that nobody is there
	u.child.sender.Close()
	u.redirects.Close()
	m.handOver(ctx)
	if m.opts.probation > 0 {
		m.emit(ctx, graceevent.ProbationSkipped{PID: u.pid()})
	}
	if err := m.pidFile.Name(u.pid()); err != nil {
		m.emit(ctx, graceevent.PIDFileFailed{Err: err}) // the successor has clients: it stays
	}
}

// isReadySignal reports whether a shutdown signal is the word of a successor of facebookgo/grace,
// and then acts on it.
func (m *Manager) isReadySignal(sig os.Signal) bool {
	u := m.upgrade.Load()
	if u == nil || !u.legacy.HasSignalled(sig, m.sockets.Sockets) {
		return false
	}
	late := !u.recognize()
	m.emit(m.draining, graceevent.SuccessorSignalled{PID: u.pid(), Late: late})
	return true
}

// expect receives a message of the same type as want.
func (u *upgrade) expect(ctx context.Context, want handoff.Message) error {
	got, err := u.receive(ctx)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the successor has ended, or has closed its link, before it sent %s: %w",
			handoff.Name(want), err)
	}
	if err == nil && handoff.Name(got) != handoff.Name(want) {
		return fmt.Errorf("%w: the successor sent %s instead of %s",
			ErrProtocol, handoff.Name(got), handoff.Name(want))
	}
	return err
}

// receive returns the successor's next message; if that is Failed, the reason is the error.
func (u *upgrade) receive(ctx context.Context) (handoff.Message, error) {
	got, err := wiring.Hear(ctx, u.child.link)
	if failed, ok := got.(*handoff.Failed); ok {
		u.child.refused = true
		return nil, fmt.Errorf("the successor cannot serve: %s", handoff.Printable(failed.Reason))
	}
	return got, err
}

// rollBack makes everything as it was before the upgrade, and describes what went wrong.
func (u *upgrade) rollBack(ctx context.Context, step Step, cause error) error {
	m := u.m
	upgradeErr := &UpgradeError{Step: step, PID: u.pid()}
	errs := []error{cause}
	if u.child != nil {
		var patience time.Duration
		if u.probation {
			patience = m.opts.drainTimeout
		}
		errs = append(errs, u.child.discard(m.draining, cause, patience))
		upgradeErr.State = u.child.exitState()
		u.child.sender.Close()
		u.successor.Store(nil)
	}
	u.redirects.Close()
	m.sockets.TakeBack()
	m.older.Pause()
	m.older.Follow()
	errs = append(errs, m.pidFile.Restore(), u.undoHooks(ctx, cause))
	upgradeErr.Err = errors.Join(errs...)
	return upgradeErr
}

// undoHooks runs OnUpgradeFailed. The context of Upgrade may have ended; that of the process
// counts.
func (u *upgrade) undoHooks(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.m.opts.upgradeTimeout)
	defer cancel()
	defer context.AfterFunc(u.m.draining, cancel)()
	return u.m.hooks.upgradeFailed(ctx, u.ran, cause)
}
