package grace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/legacy"
	"github.com/go-grace/grace/internal/wiring"
)

// parent is the old process, as its successor sees it until the handoff is committed. It is one of
// the older generations from then on.
type parent struct {
	*generation.Older
	deadline time.Time     // for OnReady
	drain    time.Duration // that it grants itself
	served   atomic.Bool   // this process serves
	refused  sync.Once
}

// refuse tells a parent that still waits for this process that it has to keep serving. The first
// reason counts.
func (p *parent) refuse(reason error) {
	p.refused.Do(func() {
		if !p.served.Load() {
			wiring.Refuse(p.Link, reason)
		}
	})
}

// succeed is Ready in a successor.
func (m *Manager) succeed(ctx context.Context, op *operation) error {
	hookCtx, cancel := context.WithDeadlineCause(ctx, m.parent.deadline, ErrTimeout)
	defer cancel()
	err := m.hooks.ready(hookCtx)
	if err == nil {
		err = m.awaitCommit(ctx, op)
	}
	if err != nil {
		m.parent.refuse(err)
		return err
	}
	m.serve(ctx)
	// Until it has read Serving, it does not drain: it may keep serving, and say so by Abort.
	m.followParent(time.Now().Add(max(m.parent.drain, commitTimeout) + generation.OverdueGrace))
	for _, r := range m.receivers {
		m.watching.Go(func() { r.Run(m.draining) }) // ends with the link or the drain
	}
	return nil
}

// serve begins to serve instead of the parent.
func (m *Manager) serve(ctx context.Context) {
	m.parent.served.Store(true)
	m.accepting()
	m.closeUnclaimed(ctx)
}

// accepting lets this process take connections and packets.
func (m *Manager) accepting() {
	m.sockets.StartListening()
	m.gate.Open()
}

// followParent follows the parent, which has to be gone at a time, and the generations before it.
func (m *Manager) followParent(due time.Time) {
	m.parent.Due = due
	m.older.Add(m.parent.Older)
	m.older.Follow()
}

// awaitCommit says that this process is ready, and returns nil when it is to serve.
func (m *Manager) awaitCommit(ctx context.Context, op *operation) error {
	if err := m.parent.Link.Send(ctx, &handoff.Ready{}); err != nil {
		return m.parentGone(ctx, err)
	}
	m.emit(ctx, graceevent.Announced{})
	msg, err := wiring.Hear(ctx, m.parent.Link)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if accept, ok := msg.(*handoff.Accept); ok {
		return m.probation(ctx, op, accept)
	}
	return m.decide(ctx, msg, err)
}

// probation accepts connections until the old process has decided.
func (m *Manager) probation(ctx context.Context, op *operation, accept *handoff.Accept) error {
	op.onProbation()
	m.emit(ctx, graceevent.ProbationStarted{Timeout: accept.Probation})
	start := time.Now()
	m.accepting()
	msg, err := wiring.Hear(ctx, m.parent.Link)
	err = m.decide(ctx, msg, err)
	m.emit(ctx, graceevent.ProbationFinished{Duration: time.Since(start), Err: err})
	return err
}

// decide does what the old process says, or what follows from its silence.
func (m *Manager) decide(ctx context.Context, msg handoff.Message, err error) error {
	switch msg := msg.(type) {
	case nil:
		return m.parentGone(ctx, err)
	case *handoff.Commit:
		m.older.Resume(msg.Followed)
		return m.accept(ctx)
	case *handoff.Abort:
		return aborted(msg)
	default:
		return fmt.Errorf("%w: the old process sent %s instead of Commit or Abort",
			ErrProtocol, handoff.Name(msg))
	}
}

func aborted(msg *handoff.Abort) error {
	return fmt.Errorf("%w: %s", ErrAborted, handoff.Printable(msg.Reason))
}

// accept answers Commit, unless the caller has given up. The PID file comes first: the old process
// can still take it back.
func (m *Manager) accept(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := m.pidFile.Write(); err != nil {
		return err
	}
	if err := m.parent.Link.Send(ctx, &handoff.Serving{}); err != nil {
		return m.parentGone(ctx, err)
	}
	m.emit(ctx, graceevent.Committed{})
	return nil
}

// lastWord reads what the old process has said before its end: whether it has given the handoff up.
func (p *parent) lastWord(ctx context.Context) error {
	for range wiring.MaxIgnored {
		msg, err := wiring.Hear(ctx, p.Link)
		if err != nil {
			return nil //nolint:nilerr // there is no more to hear
		}
		if abort, ok := msg.(*handoff.Abort); ok {
			return aborted(abort)
		}
	}
	return fmt.Errorf("%w: the old process sent more than %d messages and no Abort before its end",
		ErrProtocol, wiring.MaxIgnored)
}

// parentGone finds out what the end of the link means. If the old process is dead, this one serves.
// If it lives, it has given the handoff up, and is about to kill this process.
func (m *Manager) parentGone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrProtocol) {
		return err
	}
	// Whoever gives a handoff up says so before it closes its end: that may be here, unread, where
	// a Send has failed.
	if abort := m.parent.lastWord(ctx); abort != nil {
		return abort
	}
	select {
	case <-m.parent.Watch.Gone():
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), err)
	}
	m.older.KeepLiving() // the old process would have reported the ends of the others
	m.emit(ctx, graceevent.ParentDied{Err: err})
	if err := m.pidFile.Write(); err != nil {
		m.emit(ctx, graceevent.PIDFileFailed{Err: err}) // there is nobody else to serve
	}
	return nil
}

// replaceLegacyParent begins to serve beside a parent of facebookgo/grace, and has it drain.
func (m *Manager) replaceLegacyParent(ctx context.Context) {
	m.serve(ctx)
	due := time.Now().Add(m.opts.drainTimeout + generation.OverdueGrace)
	if err := m.dismissLegacyParent(ctx); err != nil {
		due = time.Now().AddDate(100, 0, 0) // it is not asked to leave
		m.emit(ctx, graceevent.AncestorStays{Process: m.parent.Process, Err: fmt.Errorf(
			"it speaks the protocol of facebookgo/grace, and has not been told to drain: %w", err)})
	}
	m.followParent(due)
}

// dismissLegacyParent tells the parent that this process serves, if the hooks allow it.
func (m *Manager) dismissLegacyParent(ctx context.Context) error {
	if !m.parent.Lives() {
		return nil
	}
	if err := m.hooks.parentKill(m.draining, m.parent.Process); err != nil {
		return err
	}
	paths := legacy.KeepPaths(ctx, m.sockets.Sockets(), m.emit)
	m.watching.Go(func() { // ends with the parent or the drain
		paths.Restore(m.draining, m.parent.Watch.Gone())
	})
	return m.older.Signal(m.draining, m.parent.Older, syscall.SIGTERM)
}

// exited is told how an older generation has ended.
func (m *Manager) exited(ctx context.Context, o *generation.Older, exit Exit) {
	if m.parent == nil || o != m.parent.Older {
		m.emit(ctx, graceevent.AncestorExited{Exit: exit})
		return
	}
	m.emit(ctx, graceevent.ParentExited{Exit: exit})
	m.watching.Go(func() { // ends with the hooks; an upgrade does not cut them short
		ctx, cancel := context.WithTimeout(m.draining, m.opts.upgradeTimeout)
		defer cancel()
		m.hooks.parentExit(ctx, exit)
	})
}

// givenBack ends this process, which has begun to serve, because the old one keeps serving.
func (m *Manager) givenBack(ctx context.Context, reason string) {
	m.sockets.Disown()
	m.emit(ctx, graceevent.GivenBack{Err: fmt.Errorf("%w: %s", ErrAborted, handoff.Printable(reason))})
	m.stopNow()
}

// Fail gives up a handoff that is not committed yet: this process has found out that it cannot
// serve, because it cannot read the state that its parent has passed, for example, or on probation
// (see [WithProbation]). The old process keeps serving, its Upgrade returns the reason, and so does
// Ready in this process. If the process is on probation it drains, because it has accepted
// connections: Done is closed. It should exit.
//
// Fail returns the reason, so that a program can end with it:
//
//	if err := load(state); err != nil {
//		return m.Fail(err)
//	}
//
// The error also matches [ErrCommitted] if there is no old process that could serve, and
// [ErrUpgraded] or [ErrShutdown] if this process drains already; then Fail does nothing. In a hook
// or an observer it matches [ErrCallback], and Ready, which waits for that, fails with the reason.
func (m *Manager) Fail(reason error) error {
	if reason == nil {
		reason = errors.New("grace: Manager.Fail was called without a reason")
	}
	if err := m.fail(reason); err != nil {
		return &failError{reason, err}
	}
	return reason
}

// failError is a reason for which nothing could be given up. It reads as the reason.
type failError struct{ reason, because error }

func (f *failError) Error() string   { return f.reason.Error() }
func (f *failError) Unwrap() []error { return []error{f.reason, f.because} }

// fail returns an error if there is nothing to give up.
func (m *Manager) fail(reason error) error {
	if m.parent == nil {
		return ErrCommitted
	}
	ended, err := m.life.fail(reason)
	if err != nil {
		return err
	}
	if ended != nil && inCallback() {
		return ErrCallback
	}
	if ended != nil {
		<-ended // by then Ready has told the old process
		return m.life.failure()
	}
	m.parent.refuse(reason)
	m.inherited.Close(reason)
	return nil
}
