package grace

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// How long the old process waits for things that take a successor no time.
const (
	commitTimeout = 10 * time.Second // from Commit to Serving
	killTimeout   = 5 * time.Second  // from SIGKILL to the end
	sayTimeout    = time.Second      // for a message that nobody needs to read
)

// link is the connection to another generation.
type link interface {
	Send(context.Context, handoff.Message) error
	Receive(context.Context) (handoff.Message, error)
	CloseRead()
	Close() error
}

// child is a process that this one has started.
type child interface {
	PID() int
	Exited() <-chan struct{}
	State() string
	Kill() error
}

// successor is the new process, as the old one sees it.
type successor struct {
	child child
	link  link
}

// launcher starts a successor with the descriptors that records describe.
type launcher func(ctx context.Context, prog program, env []string, sockets []uintptr, records []fds.Record) (*successor, error)

// startProcess is the launcher outside of tests.
func startProcess(ctx context.Context, prog program, env []string, sockets []uintptr, records []fds.Record) (*successor, error) {
	ours, theirs, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() //nolint:errcheck // the successor has its own by then
	files := append(append(process.Stdio(), sockets...), theirs.Fd())
	c, err := process.Start(ctx, process.Spec{
		Path:       prog.path,
		Args:       prog.args,
		Dir:        prog.dir,
		Env:        append(append(env, fds.Announce(records)...), handoff.Announce(len(files)-1)),
		Files:      files,
		Executable: prog.opened,
	})
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	return &successor{child: c, link: ours}, nil
}

// farewell says that this process is about to exit.
func (s *successor) farewell(took time.Duration, err error) {
	msg := &handoff.Drained{Duration: took}
	if err != nil {
		msg.Error = handoff.Reason(err)
	}
	s.say(msg)
	_ = s.link.Close()
}

// say sends a message to a process that may not listen any more.
func (s *successor) say(m handoff.Message) {
	ctx, cancel := context.WithTimeout(context.Background(), sayTimeout)
	defer cancel()
	_ = s.link.Send(ctx, m)
}

// discard ends a successor that is not wanted. The error says that it could not be ended.
func (s *successor) discard(reason error) error {
	s.say(&handoff.Abort{Reason: handoff.Reason(reason)}) // for the case that it cannot be killed, having changed its user
	err := s.child.Kill()
	select {
	case <-s.child.Exited():
		err = nil
	case <-time.After(killTimeout):
		err = errors.Join(fmt.Errorf("the successor %d has not ended %v after it was killed", s.child.PID(), killTimeout), err)
	}
	return errors.Join(err, s.link.Close())
}

// state says how the successor has ended, without waiting.
func (s *successor) state() string {
	select {
	case <-s.child.Exited():
		return s.child.State()
	default:
		return "running"
	}
}

// attempt is one upgrade, in the old process.
type attempt struct {
	m       *Manager
	program program // of the Manager, opened if it was checked
	ran     []Hook  // whose OnUpgrade has run
	succ    *successor
}

// newAttempt begins a handoff with an identity of its own.
func newAttempt(m *Manager) *attempt {
	m.handoff.Store(rand.Text()[:12])
	return &attempt{m: m, program: m.program}
}

func (a *attempt) pid() int {
	if a.succ == nil {
		return 0
	}
	return a.succ.child.PID()
}

// run returns when the successor serves, or everything is as it was before.
func (a *attempt) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.m.opts.upgradeTimeout, ErrTimeout)
	defer cancel()
	defer a.program.close()
	for _, step := range []struct {
		name Step
		do   func(context.Context) error
	}{
		{StepHooks, a.runHooks},
		{StepCheck, a.check},
		{StepStart, a.start},
		{StepReady, a.awaitReady},
		{StepCommit, a.commit},
	} {
		err := context.Cause(ctx)
		if err == nil {
			err = step.do(ctx)
		}
		if err != nil {
			return a.rollBack(step.name, err)
		}
	}
	return nil
}

func (a *attempt) runHooks(ctx context.Context) (err error) {
	a.ran, err = a.m.hooks.upgrade(ctx)
	return err
}

// start lends the sockets to a new process, and tells it what they are.
func (a *attempt) start(ctx context.Context) error {
	m := a.m
	hello := &handoff.Hello{
		Version: handoff.Version, PID: os.Getpid(), Generation: m.generation + 1, Handoff: m.handoffID(),
	}
	env, err := m.program.environment(ctx) // not while the sockets are lent: it is the user's code
	if err != nil {
		return err
	}
	err = m.sockets.Lend(func(sockets []uintptr, records []fds.Record) (err error) {
		hello.Sockets = records
		a.succ, err = m.launch(ctx, a.program, env, sockets, records)
		return err
	})
	if err != nil {
		return err
	}
	m.successor.Store(a.succ)
	m.emit(SuccessorStarted{PID: a.pid(), Executable: m.program.path, Sockets: len(hello.Sockets)})
	go a.succ.hearOut() // ends with the successor
	if err := a.program.opened.Unchanged(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		hello.Timeout = time.Until(deadline)
	}
	err = a.succ.link.Send(ctx, hello)
	if err != nil && ctx.Err() == nil {
		return errors.Join(a.awaitReady(ctx), err) // it may have said why it has gone
	}
	return err
}

// hearOut lets a receiver come to an end once the successor has ended: something that the successor started may still hold
// the other end of the link.
func (s *successor) hearOut() {
	<-s.child.Exited()
	s.link.CloseRead()
}

func (a *attempt) awaitReady(ctx context.Context) error {
	return a.expect(ctx, &handoff.Ready{})
}

// commit lets the successor serve. From here on only the successor can make the upgrade fail: a context that ends while both
// believe that they may serve would leave the clients of one of them without an answer.
func (a *attempt) commit(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), commitTimeout, ErrTimeout)
	defer cancel()
	if err := a.succ.link.Send(ctx, &handoff.Commit{}); err != nil {
		return err
	}
	if err := a.expect(ctx, &handoff.Serving{}); err != nil {
		return err
	}
	a.m.sockets.HandOver()
	return nil
}

// expect receives a message of the same type as want.
func (a *attempt) expect(ctx context.Context, want handoff.Message) error {
	got, err := a.succ.link.Receive(ctx)
	switch got := got.(type) {
	case nil:
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the successor has ended, or has closed its connection, before it sent %s: %w", handoff.Name(want), err)
		}
		return err
	case *handoff.Failed:
		return fmt.Errorf("the successor cannot serve: %s", got.Reason)
	}
	if handoff.Name(got) != handoff.Name(want) {
		return fmt.Errorf("%w: the successor sent %s instead of %s", ErrProtocol, handoff.Name(got), handoff.Name(want))
	}
	return nil
}

// rollBack makes everything as it was before the upgrade, and describes what went wrong.
func (a *attempt) rollBack(step Step, cause error) error {
	upgradeErr := &UpgradeError{Step: step, PID: a.pid()}
	errs := []error{cause}
	if a.succ != nil {
		errs = append(errs, a.succ.discard(cause))
		upgradeErr.State = a.succ.state()
		a.m.successor.Store(nil)
	}
	a.m.sockets.TakeBack()
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

// upgradable says why no process like this one can be replaced.
func upgradable() error {
	if !process.Supported {
		return fmt.Errorf("grace: sockets cannot be passed to a process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	if os.Getpid() == 1 {
		return fmt.Errorf("grace: this process is PID 1, at whose end the container or PID namespace ends: run it under an init (docker run --init): %w",
			errors.ErrUnsupported)
	}
	return nil
}
