package grace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/handoff"
)

// parent is the old process, as its successor sees it until the handoff is committed. It is an ancestor from then on.
type parent struct {
	*ancestor
	deadline  time.Time     // for OnReady
	drain     time.Duration // that it grants itself
	served    atomic.Bool
	renounced sync.Once
}

func newParent(l link, hello *handoff.Hello, w watched) *parent {
	return &parent{
		ancestor: newAncestor(Process{PID: hello.PID, Generation: hello.Generation - 1}, l, w, time.Time{}),
		deadline: time.Now().Add(hello.Timeout),
		drain:    hello.Drain,
	}
}

// renounce tells a parent that still waits for us that it has to serve on. The first reason counts.
func (p *parent) renounce(reason error) {
	p.renounced.Do(func() {
		if !p.served.Load() {
			refuse(p.link, reason)
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
		m.parent.renounce(err)
		return err
	}
	m.parent.served.Store(true)
	m.gate.Open()
	m.settle()
	// Until it has read Serving, it does not drain: it may serve on, and say so by Abort.
	m.parent.due = time.Now().Add(max(m.parent.drain, commitTimeout) + overdueGrace)
	m.ancestors.add(m.parent.ancestor)
	m.ancestors.follow()
	for _, r := range m.receivers {
		m.watching.Go(func() { r.Run(m.draining) }) // ends with the link or the drain
	}
	return nil
}

// awaitCommit says that this process is ready, and returns nil when it is to serve.
func (m *Manager) awaitCommit(ctx context.Context, op *operation) error {
	if err := m.parent.link.Send(ctx, &handoff.Ready{}); err != nil {
		return m.bereaved(ctx, err)
	}
	msg, err := m.parent.link.Receive(ctx)
	if trial, ok := msg.(*handoff.Accept); ok {
		return m.standTrial(ctx, op, trial)
	}
	return m.decide(ctx, msg, err)
}

// standTrial accepts connections until the old process has decided.
func (m *Manager) standTrial(ctx context.Context, op *operation, trial *handoff.Accept) error {
	op.onProbation()
	m.emit(ProbationStarted{Timeout: trial.Probation})
	start := time.Now()
	m.gate.Open()
	msg, err := m.parent.link.Receive(ctx)
	err = m.decide(ctx, msg, err)
	m.emit(ProbationFinished{Duration: time.Since(start), Err: err})
	return err
}

// decide does what the old process says, or what follows from its silence.
func (m *Manager) decide(ctx context.Context, msg handoff.Message, err error) error {
	switch msg := msg.(type) {
	case nil:
		return m.bereaved(ctx, err)
	case *handoff.Commit:
		m.ancestors.resume(msg.Followed)
		return m.accept(ctx)
	case *handoff.Abort:
		return aborted(msg)
	default:
		return fmt.Errorf("%w: the old process sent %s instead of Commit or Abort", ErrProtocol, handoff.Name(msg))
	}
}

func aborted(msg *handoff.Abort) error { return fmt.Errorf("%w: %s", ErrAborted, msg.Reason) }

// accept answers Commit, unless the caller has given up. The PID file comes first: the old process can still take it back.
func (m *Manager) accept(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := m.pidFile.write(); err != nil {
		return err
	}
	if err := m.parent.link.Send(ctx, &handoff.Serving{}); err != nil {
		return m.bereaved(ctx, err)
	}
	return nil
}

// lastWord reads what the old process has said before its end: whether it has given the handoff up.
func (p *parent) lastWord(ctx context.Context) error {
	for {
		msg, err := p.link.Receive(ctx)
		if err != nil {
			return nil //nolint:nilerr // there is no more to hear
		}
		if abort, ok := msg.(*handoff.Abort); ok {
			return aborted(abort)
		}
	}
}

// bereaved finds out what the end of the link means. If the old process is dead, this one serves. If it lives, it has given
// the handoff up, and is about to kill this process.
func (m *Manager) bereaved(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrProtocol) {
		return err
	}
	// Whoever gives a handoff up says so before it closes its end: that may be here, unread, where a Send has failed.
	if abort := m.parent.lastWord(ctx); abort != nil {
		return abort
	}
	select {
	case <-m.parent.watch.Gone():
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), err)
	}
	m.ancestors.keep((*ancestor).lives) // the end of the others was the old process's to tell
	m.emit(Warned{fmt.Errorf("the old process has died before the handoff was committed, taking over: %w", err)})
	if err := m.pidFile.write(); err != nil {
		m.emit(Warned{err}) // there is nobody else to serve
	}
	return nil
}

// Fail gives a handoff up that is not committed yet: this process has found out that it cannot serve, because it cannot read the
// state that it was passed, for example, or during the probation (see [WithProbation]). The old process serves on, its Upgrade
// returns the reason, and so does Ready in this process. If the process is on probation it drains, since it has accepted
// connections: Done is closed. It should exit.
//
// Fail returns [ErrCommitted] if this process serves alone, since nobody can take the service back then, and [ErrUpgraded] or
// [ErrShutdown] if it drains.
func (m *Manager) Fail(reason error) error {
	if reason == nil {
		reason = errors.New("no reason given")
	}
	if m.parent == nil {
		return ErrCommitted
	}
	ended, err := m.life.fail(reason)
	if err != nil {
		return err
	}
	if ended != nil {
		<-ended // by then Ready has told the old process
		return m.life.failure()
	}
	m.parent.renounce(reason)
	m.received.close(reason)
	return nil
}
