package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// helloTimeout bounds the wait for Hello, which the old process sends as soon as it has started us.
const helloTimeout = 10 * time.Second

// parent is the old process, as its successor sees it.
type parent struct {
	link     link
	watch    watched
	hello    *handoff.Hello
	deadline time.Time // for OnReady
	served   atomic.Bool
	failed   error // of the first call of Ready; there is no second try
}

// watched is a process that is no child of this one.
type watched interface {
	Gone() <-chan struct{}
	Close()
}

// inheritance is what a process was started with.
type inheritance struct {
	generation int
	handoff    string
	sockets    *fds.Set
	parent     *parent // nil in a first generation
	warning    error   // something to tell the observers
}

// inherit reads what the environment announces, and removes it from there.
func inherit() (inheritance, error) {
	announced, err := fds.TakeAnnounced()
	l, linkErr := handoff.TakeLink()
	switch {
	case err != nil || linkErr != nil:
		fds.Discard(announced)
		err = errors.Join(err, linkErr)
		if l != nil {
			refuse(l, err)
		}
		return inheritance{}, fmt.Errorf("grace: %w", err)
	case l == nil:
		return inheritAnnounced(announced)
	}
	from, err := inheritFrom(l, announced)
	if err != nil {
		refuse(l, err)
		return inheritance{}, fmt.Errorf("grace: %w", err)
	}
	return from, nil
}

// disinherit gives up what the process was started with, because New fails.
func disinherit(reason error) {
	if announced, err := fds.TakeAnnounced(); err == nil {
		fds.Discard(announced)
	}
	if l, err := handoff.TakeLink(); err == nil && l != nil {
		refuse(l, reason)
	}
}

// inheritAnnounced makes a first generation, with the sockets of a service manager if there are any.
func inheritAnnounced(announced fds.Announced) (inheritance, error) {
	set, err := fds.Inherit(announced, nil)
	if err != nil {
		return inheritance{}, fmt.Errorf("grace: %w", err)
	}
	return inheritance{generation: 1, sockets: set}, nil
}

// inheritFrom makes a successor.
func inheritFrom(l link, announced fds.Announced) (inheritance, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), helloTimeout, ErrTimeout)
	defer cancel()
	hello, err := receiveHello(ctx, l)
	if errors.Is(err, io.EOF) {
		// The old process died before it could say more. Its sockets are here, and nobody else has them.
		from, inheritErr := inheritAnnounced(announced)
		from.warning = fmt.Errorf("the old process has died at the start of the handoff, taking over: %w", err)
		return from, errors.Join(inheritErr, l.Close())
	}
	if err != nil {
		fds.Discard(announced)
		return inheritance{}, err
	}
	set, err := fds.Inherit(announced, known(hello.Sockets))
	if err != nil {
		return inheritance{}, err
	}
	hello.Sockets = nil // they are the Set's
	p := &parent{link: l, watch: watchParent(hello.PID), hello: hello, deadline: time.Now().Add(hello.Timeout)}
	return inheritance{generation: hello.Generation, handoff: hello.Handoff, sockets: set, parent: p}, nil
}

// known makes a description of no sockets differ from no description.
func known(records []fds.Record) []fds.Record {
	if records == nil {
		return []fds.Record{}
	}
	return records
}

func receiveHello(ctx context.Context, l link) (*handoff.Hello, error) {
	msg, err := l.Receive(ctx)
	if err != nil {
		return nil, err
	}
	hello, ok := msg.(*handoff.Hello)
	if !ok {
		return nil, fmt.Errorf("%w: the old process began with %s instead of Hello", ErrProtocol, handoff.Name(msg))
	}
	return hello, nil
}

// unwatched stands for a process that cannot be watched: the end of its connection has to do for its own.
type unwatched struct{}

func (unwatched) Gone() <-chan struct{} {
	gone := make(chan struct{})
	close(gone)
	return gone
}

func (unwatched) Close() {}

// watchParent watches the process that has sent a Hello. That it still is our parent, once the watch has begun, proves that
// the number has not gone to another process.
func watchParent(pid int) watched {
	w, err := process.Watch(pid)
	if err != nil {
		return unwatched{}
	}
	if os.Getppid() != pid {
		w.Close()
		return unwatched{}
	}
	return w
}

// refuse tells the old process why there will be no handoff.
func refuse(l link, reason error) {
	ctx, cancel := context.WithTimeout(context.Background(), sayTimeout)
	defer cancel()
	_ = l.Send(ctx, &handoff.Failed{Reason: handoff.Reason(reason)})
	_ = l.Close()
}

func (p *parent) process() Process {
	return Process{PID: p.hello.PID, Generation: p.hello.Generation - 1}
}

func (p *parent) lives() bool {
	select {
	case <-p.watch.Gone():
		return false
	default:
		return true
	}
}

// renounce tells a parent that still waits for us that it has to serve on.
func (p *parent) renounce() {
	if !p.served.Load() {
		refuse(p.link, ErrShutdown)
	}
}

// leave ends the connection.
func (p *parent) leave() {
	_ = p.link.Close()
	p.watch.Close()
}

// succeed is Ready in a successor.
func (m *Manager) succeed(ctx context.Context) error {
	if m.parent.failed != nil {
		return m.parent.failed
	}
	hookCtx, cancel := context.WithDeadlineCause(ctx, m.parent.deadline, ErrTimeout)
	defer cancel()
	err := m.hooks.ready(hookCtx)
	if err == nil {
		err = m.awaitCommit(ctx)
	}
	if err != nil {
		m.parent.failed = err
		refuse(m.parent.link, err)
		return err
	}
	m.parent.served.Store(true)
	m.gate.open()
	m.settle()
	m.watching.Go(func() { m.followParent(m.draining) }) // ends with the parent or with our own drain
	return nil
}

// awaitCommit says that this process is ready, and returns nil when it is to serve.
func (m *Manager) awaitCommit(ctx context.Context) error {
	if err := m.parent.link.Send(ctx, &handoff.Ready{}); err != nil {
		return m.bereaved(ctx, err)
	}
	switch msg, err := m.parent.link.Receive(ctx); msg := msg.(type) {
	case nil:
		return m.bereaved(ctx, err)
	case *handoff.Commit:
		return m.accept(ctx)
	case *handoff.Abort:
		return fmt.Errorf("%w: %s", ErrAborted, msg.Reason)
	default:
		return fmt.Errorf("%w: the old process sent %s instead of Commit or Abort", ErrProtocol, handoff.Name(msg))
	}
}

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
			return fmt.Errorf("%w: %s", ErrAborted, abort.Reason)
		}
	}
}

// bereaved finds out what the end of the link means. If the old process is dead, this one serves. If it lives, it has given
// the handoff up, and is about to kill this process.
func (m *Manager) bereaved(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrProtocol) {
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
	m.emit(Warned{fmt.Errorf("the old process has died before the handoff was committed, taking over: %w", err)})
	if err := m.pidFile.write(); err != nil {
		m.emit(Warned{err}) // there is nobody else to serve
	}
	return nil
}

// followParent waits for the end of the old process.
func (m *Manager) followParent(ctx context.Context) {
	exit := ParentExit{Process: m.parent.process()}
	for {
		msg, err := m.parent.link.Receive(ctx)
		if err != nil {
			break
		}
		switch msg := msg.(type) {
		case *handoff.Drained:
			exit.Drained, exit.Drain = true, msg.Duration
			if msg.Error != "" {
				exit.Err = errors.New(msg.Error)
			}
		case *handoff.Abort: // it has waited too long for Serving, and could not kill us
			m.emit(Warned{fmt.Errorf("%w, after this process began to serve: shutting down: %s", ErrAborted, msg.Reason)})
			go func() { _ = m.Shutdown(context.Background()) }() // ends with the drain
		}
	}
	_ = m.parent.link.Close() // there is nothing more to hear
	select {
	case <-m.parent.watch.Gone():
	case <-ctx.Done():
		return
	}
	m.emit(ParentExited{exit})
	ctx, cancel := context.WithTimeout(ctx, m.opts.upgradeTimeout)
	defer cancel()
	_ = m.hooks.parentExit(ctx, exit) // its errors are events
}
