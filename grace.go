package grace

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/gate"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/passed"
	"github.com/go-grace/grace/internal/pidfile"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/signals"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// Manager hands the sockets of a service from one process to the next. A process has one. Its
// methods can be called by several goroutines at once.
type Manager struct {
	opts       options
	generation int
	program    program // what successors execute
	sockets    *fds.Set
	gate       *gate.Gate
	hooks      *hooks
	life       *lifecycle
	signals    *signals.Signals
	pidFile    pidfile.File
	parent     *parent // nil in a first generation
	older      *generation.Set
	outgoing   *passed.Outgoing     // to successors
	inherited  *passed.Inherited    // from the old process
	handlers   *transfer.Handlers   // of HandleTransfers
	handling   wait.Group           // calls of handlers
	receivers  []*transfer.Receiver // from older generations that drain
	work       wait.Group           // of Go

	handoff      string                  // of the handoff that started this process, or ""
	upgrade      atomic.Pointer[upgrade] // the present or last one
	hurry        context.CancelCauseFunc // ends the drain's context
	draining     context.Context         //nolint:containedctx // of the drain: it has no caller
	watching     sync.WaitGroup          // goroutines that end with the drain
	delay        stopDelay
	containerEnd string // why the container ends with this process; "" if it does not
	release      func() // lets the next Manager of this process be made
}

// taken is set while this process has a Manager.
var taken atomic.Bool

// New makes the Manager of this process. It belongs at the very start of main: it takes the sockets
// that the process was started with, and removes the variables that announce them, so that no other
// child of this process takes them for its own; it remembers arguments, directory and environment
// for the successors; and it claims the signals for [Manager.Run]. What package initialization does
// comes before all that: it should start no processes.
//
// A process has one Manager: until that is shut down, a second call returns [ErrManagerExists].
//
// The error names every option that is wrong. An error about what the process was started with
// matches [ErrEnvironment] or [ErrProtocol]. After an error nothing is left open or claimed,
// and an old process that waits for this one is told why. A Manager that is no longer needed is
// ended by [Manager.Shutdown].
func New(opts ...Option) (*Manager, error) {
	o, err := newOptions(opts)
	release := func() {}
	if o.wires.Launch == nil {
		o.wires = wiring.Processes()
		if !taken.CompareAndSwap(false, true) {
			return nil, ErrManagerExists
		}
		release = func() { taken.Store(false) }
	}
	var prog program
	err = errors.Join(err, prog.ignoreForeign())
	if err == nil {
		err = prog.remember(o)
	}
	if err != nil {
		disinherit(o.wires.TakeLink, err)
		release()
		return nil, err
	}
	return inheritManager(o, prog, release)
}

// inheritManager makes a Manager with everything that the process was started with. release lets
// the next one be made.
func inheritManager(o options, prog program, release func()) (*Manager, error) {
	// The runtime starts threads to catch signals, which takes as long as everything else here.
	claimed := make(chan *signals.Signals, 1)
	go func() { claimed <- signals.Claim(o.upgradeSignals, o.shutdownSignals) }() // ends at once
	from, err := inherit(o.wires.TakeLink)
	sig := <-claimed
	if err != nil {
		sig.Discard()
		release()
		return nil, err
	}
	if from.parent != nil {
		process.RestoreName(prog.path)
	}
	m := newManager(o, prog, from, sig)
	m.release = release
	return m, nil
}

// newManager puts a Manager together.
func newManager(o options, prog program, from inheritance, sig *signals.Signals) *Manager {
	m := &Manager{
		opts:       o,
		generation: from.generation,
		program:    prog,
		sockets:    from.sockets,
		gate:       gate.New(),
		life:       newLifecycle(),
		signals:    sig,
		pidFile:    pidfile.File{Path: o.pidFile},
		parent:     from.parent,
		outgoing:   passed.NewOutgoing(),
		inherited:  from.received,
		handoff:    from.handoff,
		release:    func() {},
		delay:      stopDelay{ended: make(chan struct{})},
	}
	if m.inherited == nil {
		m.inherited = passed.NewInherited()
	}
	m.handlers = transfer.NewHandlers(m.handling.Begin, func() { m.handling.End(nil) })
	m.receivers = from.receivers(m.handlers)
	m.hooks = &hooks{emit: m.emit}
	m.draining, m.hurry = context.WithCancelCause(context.Background())
	m.signals.Excuse(m.isReadySignal)
	m.older = generation.NewSet(m.draining, generation.Owner{
		MayKill: m.hooks.parentKill, Exited: m.exited, GivenBack: m.givenBack, Emit: m.emit,
	})
	m.older.Add(from.older...)
	if m.parent == nil {
		m.gate.Open()
	} else {
		m.sockets.DeferListening()
	}
	if from.environ != nil {
		m.program.env = from.environ
	}
	m.emit(context.Background(), m.inheritedEvent(from.count))
	for _, notice := range prog.notices {
		m.emit(context.Background(), notice)
	}
	if from.died != nil {
		m.emit(context.Background(), graceevent.ParentDied{Err: from.died})
	}
	if m.parent == nil {
		m.lookAround()
	}
	return m
}

// lookAround finds out what becomes of the service when this process, which is no successor, ends.
func (m *Manager) lookAround() {
	if m.opts.wires.Container != nil {
		m.containerEnd = m.opts.wires.Container()
	}
	// systemd.exec(5): systemd itself has started the process with this number.
	bySystemd := os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid())
	if bySystemd && m.pidFile.Path == "" {
		m.emit(context.Background(), graceevent.SupervisorUntold{Supervisor: "systemd"})
	}
}

// Append adds a hook. Hooks that are appended while their moment passes may be missed.
func (m *Manager) Append(h Hook) { m.hooks.append(h) }

// Ready says that this process can serve: it has its sockets, and its servers run. It runs the
// OnReady hooks. In a successor it then blocks until the handoff is committed; if the old process
// crashes meanwhile, this one takes over. When Ready returns nil, this process serves. Inherited
// sockets, files and states that nobody has asked for are closed then.
//
// [Manager.Run] calls Ready. A program that calls it itself acts on signals itself, too: those that
// [New] has claimed are released, see [WithShutdownSignals].
//
// After an error the process does not serve. A first generation may call Ready again; a successor
// must exit, and the old process keeps serving. If the successor was on probation (see
// [WithProbation]) it has accepted connections, and drains: it exits after Wait. [ErrAborted] is
// matched if the old process gave up, and [ErrTimeout] if the OnReady hooks took longer than the
// upgrade timeout (that of the old process, in a successor). If the context ends, its cause is
// matched. Ready returns nil at once in a process that serves, and [ErrUpgraded] or [ErrShutdown]
// in one that drains.
func (m *Manager) Ready(ctx context.Context) error {
	if inCallback() {
		return m.readyInCallback()
	}
	if released := m.signals.Release(); len(released) > 0 {
		m.emit(ctx, graceevent.SignalsReleased{Signals: released})
	}
	return m.ready(ctx)
}

// readyInCallback is Ready where it cannot wait.
func (m *Manager) readyInCallback() error {
	switch err := m.life.readiness(); {
	case err == nil:
		return ErrCallback
	case errors.Is(err, errAlreadyReady):
		return nil
	default:
		return err
	}
}

func (m *Manager) ready(ctx context.Context) error {
	ctx, op, err := m.life.beginReady(ctx)
	if errors.Is(err, errAlreadyReady) {
		return nil
	}
	if err != nil {
		return err
	}
	m.emit(ctx, graceevent.ReadyStarted{})
	start := time.Now()
	err = m.becomeReady(ctx, op)
	drains := false
	switch {
	case err == nil:
		op.end(StateServing)
	case m.parent == nil:
		op.end(StateStarting)
	default:
		drains = op.fail(err)
		m.inherited.Close(err)
	}
	m.emit(ctx, graceevent.ReadyFinished{Duration: time.Since(start), Err: err})
	if drains {
		go m.drain(nil, m.opts.drainTimeout) // ends with the drain, for which Wait waits
	}
	return err
}

func (m *Manager) becomeReady(ctx context.Context, op *operation) error {
	if m.parent != nil && !m.parent.Legacy {
		return m.succeed(ctx, op)
	}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if m.parent != nil {
		m.replaceLegacyParent(ctx)
		return nil
	}
	m.closeUnclaimed(ctx)
	return nil
}

// prepare does the work of a process that may serve without asking another.
func (m *Manager) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.opts.upgradeTimeout, ErrTimeout)
	defer cancel()
	if err := m.hooks.ready(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return m.pidFile.Write()
}

// Shutdown ends the service in this process, without a successor. An upgrade that is under way is
// cancelled. A process that serves goes on for the delay of [WithStopDelay]; then Done is closed,
// the OnDrain hooks run, the listeners are closed, and their connections are waited for (see
// [WithDrainTimeout]). Shutdown returns when the process is drained, with the errors of the hooks.
// If the context ends earlier, so does the drain, and the cause is in the error too. (A successor
// that has just been told to serve is waited for, up to 10 seconds, and one that has to be killed,
// up to 6.)
//
// If a drain is under way already, after an upgrade or another Shutdown, Shutdown waits for its
// end. In a successor that was not ready, it first tells the old process to keep serving, which
// then ends this one. In a function that the drain would wait for, Shutdown begins the same, and
// returns [ErrCallback] at once.
func (m *Manager) Shutdown(ctx context.Context) error {
	if wait.IsClosed(m.life.drained) {
		return m.life.err
	}
	if inWork() {
		m.life.announceShutdown()
		go m.stop(context.WithoutCancel(ctx)) // ends when nothing is under way any longer
		return ErrCallback
	}
	stop := context.AfterFunc(ctx, func() { m.hurry(context.Cause(ctx)) })
	defer stop()
	m.stop(ctx)
	<-m.life.drained // soon, once the context of the drain has ended
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), m.life.err)
	}
	return m.life.err
}

// Stopping returns a channel that is closed when the service begins to stop without a successor, as
// on SIGTERM: before the delay of [WithStopDelay], in which load balancers should learn of the
// stop. It stays open in a process that was replaced.
func (m *Manager) Stopping() <-chan struct{} { return m.life.stopping }

// Done returns a channel that is closed when this process must accept nothing more: after a
// successful upgrade, or when Shutdown is called and its delay has passed.
func (m *Manager) Done() <-chan struct{} { return m.life.done }

// Cause returns why Done is closed. It matches [ErrUpgraded] or [ErrShutdown], or is what made a
// successor on probation fail, in which case the old process keeps serving. It is nil while Done is
// open.
func (m *Manager) Cause() error { return m.life.cause() }

// Wait waits until this process is drained, after an upgrade or a shutdown, and returns the errors
// of its OnDrain hooks and of [Manager.Go]; the process can exit then. If the context ends earlier,
// Wait returns its cause, and the drain goes on.
func (m *Manager) Wait(ctx context.Context) error {
	if inWork() && !wait.IsClosed(m.life.drained) {
		return ErrCallback
	}
	select {
	case <-m.life.drained:
	case <-ctx.Done():
		if !wait.IsClosed(m.life.drained) {
			return context.Cause(ctx)
		}
	}
	return m.life.err
}

// Emit reports an event of another package to the observers.
func (m *Manager) Emit(ctx context.Context, e graceevent.Event) { m.emit(ctx, e) }

func (m *Manager) handoffID() string {
	if u := m.upgrade.Load(); u != nil {
		return u.id
	}
	return m.handoff
}

func (m *Manager) role() graceevent.Role {
	switch m.life.current() {
	case StateStarting:
		if m.parent != nil {
			return graceevent.RoleSuccessor
		}
	case StateDraining, StateDone:
		return graceevent.RoleDraining
	}
	return graceevent.RoleServing
}
