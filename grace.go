package grace

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/gate"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/transfer"
)

// Manager hands the sockets of a service from one process to the next. A process has one. Its methods can be called from
// several goroutines.
type Manager struct {
	opts       options
	generation int
	program    program // what successors execute
	sockets    *fds.Set
	gate       *gate.Gate
	hooks      *hooks
	life       *lifecycle
	signals    *signals
	pidFile    pidFile
	parent     *parent // nil in a first generation
	ancestors  *ancestors
	passing    *passing             // to successors
	received   *received            // from the old process
	handlers   *transfer.Handlers   // of HandleTransfers
	receivers  []*transfer.Receiver // from older generations that drain
	wires      wiring
	work       work // of Go

	handoff   atomic.Value              // string: the latest handoff that this process takes part in
	successor atomic.Pointer[successor] // the present or last one
	awaited   atomic.Pointer[attempt]   // whose successor has not said anything yet; nil: none
	hurry     context.CancelCauseFunc   // ends the drain's context
	draining  context.Context           //nolint:containedctx // the drain belongs to no caller: each can begin it or hasten it
	watching  sync.WaitGroup            // goroutines that end with the drain
}

// Process names another generation of the service.
type Process struct {
	PID        int
	Generation int
}

// Status is a look at a [Manager].
type Status struct {
	Generation int // of this process; the first is 1
	PID        int // of this process
	State      State
	Handoff    string    // the latest handoff that this process takes part in; "" before the first
	Parent     *Process  // the old process, while it lives; else nil
	Draining   []Process // older generations that live, the oldest first, as far as this process follows them
	Successor  *Process  // the new process, from its start on; nil if there is none
	Sockets    []Socket  // that are open
}

// New makes the Manager of this process. It belongs at the very start of main: it takes the sockets that the process was
// started with, and removes the variables that announce them, so that no other child of this process takes them for its own;
// it remembers arguments, directory and environment for the successors; and it claims the signals for [Manager.Run].
//
// A process has one Manager. A second one would inherit nothing, and an upgrade hands over the sockets of one alone.
//
// The error names every option that is wrong. [ErrEnvironment] and [ErrProtocol] are matched by the errors about what the
// process was started with. After an error nothing is left open or claimed. A Manager that is not needed any more is ended by
// [Manager.Shutdown].
//
// If the options are wrong, what the process was started with is closed too, and an old process that waits for this one is
// told why.
func New(opts ...Option) (*Manager, error) {
	return newWired(wiring{take: takeLink, launch: startProcess, pair: handoff.TransferPair}, opts...)
}

// wiring is where a Manager meets other processes. Tests put faults there.
type wiring struct {
	take   linkTaker
	launch launcher
	pair   transfer.Pair
}

func newWired(wires wiring, opts ...Option) (*Manager, error) {
	o, err := newOptions(opts)
	var prog program
	if err == nil {
		prog, err = newProgram(o)
	}
	if err != nil {
		disinherit(err)
		return nil, err
	}
	// The runtime starts threads to catch signals, which takes as long as all else that is done here.
	claimed := make(chan *signals, 1)
	go func() { claimed <- claimSignals(o.upgradeSignals, o.shutdownSignals) }() // ends at once
	inherited, err := inherit(wires.take)
	sig := <-claimed
	if err != nil {
		sig.disclaim()
		return nil, err
	}
	if inherited.parent != nil {
		process.RestoreName(prog.path)
	}
	return newManager(o, prog, inherited, wires, sig), nil
}

// newManager puts a Manager together.
func newManager(o options, prog program, from inheritance, wires wiring, sig *signals) *Manager {
	m := &Manager{
		opts:       o,
		generation: from.generation,
		program:    prog,
		sockets:    from.sockets,
		gate:       gate.New(),
		life:       newLifecycle(),
		signals:    sig,
		pidFile:    pidFile{o.pidFile},
		parent:     from.parent,
		passing:    &passing{files: make(map[string]syscall.Conn)},
		received:   from.received,
		wires:      wires,
	}
	if m.received == nil {
		m.received = newReceived()
	}
	m.handlers = transfer.NewHandlers(m.work.begin, func() { m.work.end(nil) })
	m.receivers = from.receivers(m.handlers)
	m.hooks = &hooks{emit: m.emit}
	m.handoff.Store(from.handoff)
	m.draining, m.hurry = context.WithCancelCause(context.Background())
	m.signals.excuse(m.isReadySignal)
	m.ancestors = &ancestors{m: m}
	m.ancestors.add(from.ancestors...)
	if m.parent == nil {
		m.gate.Open()
	}
	if from.warning != nil {
		m.emit(Warned{from.warning})
	}
	return m
}

// Append adds a hook. Hooks that are appended while their moment passes may be missed.
func (m *Manager) Append(h Hook) { m.hooks.append(h) }

// Ready says that this process can serve: it has its sockets, and its servers run. It runs the OnReady hooks. In a successor
// it then blocks until the handoff is committed; if the old process crashes meanwhile, this one takes over. When Ready
// returns nil, this process is the one that serves, and inherited sockets for which no Listen function has asked are closed;
// so are files and states for which nobody has asked, see [Manager.Inherited].
//
// After an error the process does not serve. A first generation may call Ready again; a successor must exit, and the old
// process serves on. If it was on probation (see [WithProbation]) it has accepted connections, and drains: it exits after Wait.
// [ErrAborted] is matched if that one gave up, and [ErrTimeout] if the OnReady hooks took longer than the
// upgrade timeout, that of the old process in a successor. If the context ends, its cause is matched. Ready returns nil at once
// in a process that serves, and [ErrUpgraded] or [ErrShutdown] in one that drains.
func (m *Manager) Ready(ctx context.Context) error {
	ctx, op, err := m.life.beginReady(ctx)
	if errors.Is(err, errAlreadyReady) {
		return nil
	}
	if err != nil {
		return err
	}
	m.emit(ReadyStarted{})
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
		m.received.close(err)
	}
	m.emit(ReadyFinished{Duration: time.Since(start), Err: err})
	if drains {
		go m.drain(false) // ends with the drain, for which Wait waits
	}
	return err
}

func (m *Manager) becomeReady(ctx context.Context, op *operation) error {
	if m.parent != nil && !m.parent.legacy {
		return m.succeed(ctx, op)
	}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if m.parent != nil {
		m.supersede()
		return nil
	}
	m.settle()
	return nil
}

// prepare is what a process does that needs nobody's leave to serve.
func (m *Manager) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.opts.upgradeTimeout, ErrTimeout)
	defer cancel()
	if err := m.hooks.ready(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return m.pidFile.write()
}

// settle closes what nobody asked for.
func (m *Manager) settle() {
	if closed := m.sockets.CloseUnclaimed(); len(closed) > 0 {
		names := make([]string, len(closed))
		for i, r := range closed {
			names[i] = r.String()
		}
		m.emit(SocketsAbandoned{names})
	}
	if files, states := m.received.close(errSettled); len(files)+len(states) > 0 {
		m.emit(PassedAbandoned{files, states})
	}
}

// Upgrade replaces this process by a new one. It runs the OnUpgrade hooks and the check of [WithCheck], has the states of
// [Manager.PassState] encoded, starts the executable anew with the sockets of this process and the files of [Manager.Pass],
// waits until the new process is ready, and lets it serve. When Upgrade returns nil, that process serves: Done is closed, and
// this one drains. After an error this process serves on as before, and Upgrade may be called again.
//
// When the context ends before the successor is told to serve, or it is not ready within the upgrade timeout, the successor
// is killed.
//
// Errors: [ErrNotReady], [ErrUpgradeInProgress], [ErrUpgraded] and [ErrShutdown] if there was nothing to begin; after that an
// [*UpgradeError] that matches the cause, such as [ErrTimeout] or the cause of the context. If it matches
// [errors.ErrUnsupported], the platform cannot pass sockets to a process, or this process is PID 1, whose end would end its
// container.
func (m *Manager) Upgrade(ctx context.Context) error {
	if err := upgradable(); err != nil {
		return err
	}
	ctx, op, err := m.life.beginUpgrade(ctx)
	if err != nil {
		return err
	}
	a := newAttempt(m)
	m.emit(UpgradeStarted{})
	start := time.Now()
	err = a.run(ctx)
	next := StateDraining
	if err != nil {
		next = StateServing
	}
	op.end(next)
	m.emit(UpgradeFinished{Duration: time.Since(start), Successor: a.pid(), Err: err})
	if next == StateDraining {
		go m.drain(true) // ends with the drain, for which Wait waits
	}
	return err
}

// Shutdown ends the service in this process, without a successor. An upgrade that is under way is cancelled. It runs the
// OnDrain hooks, closes all sockets, and returns when that is done, with the errors of the hooks. If the context ends
// earlier, so does the context of the hooks, and its cause is in the error too. (A successor that has just been told to serve
// is waited for, up to 10 seconds, and one that has to be killed, up to 6.)
//
// If a drain is under way already, after an upgrade or another Shutdown, Shutdown waits for its end. In a successor that was
// not ready, it first tells the old process to serve on, which then ends this one.
func (m *Manager) Shutdown(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { m.hurry(context.Cause(ctx)) })
	defer stop()
	if m.life.beginShutdown() {
		go m.drain(false) // ends with the drain, for which Wait waits
	}
	<-m.life.drained // soon, once the context of the drain has ended
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), m.life.err)
	}
	return m.life.err
}

// Done is closed when this process must accept no more: after a successful upgrade, or when Shutdown is called.
func (m *Manager) Done() <-chan struct{} { return m.life.done }

// Cause says why Done is closed: [ErrUpgraded] or [ErrShutdown] are matched, or what made a successor on probation fail, in which
// case the old process serves on. It is nil while Done is open.
func (m *Manager) Cause() error { return m.life.cause() }

// Wait waits until this process is drained, after an upgrade or a shutdown, and returns the errors of its OnDrain hooks and of
// [Manager.Go]; the process can exit then. If the context ends earlier, Wait returns its cause, and the drain goes on.
func (m *Manager) Wait(ctx context.Context) error {
	select {
	case <-m.life.drained:
		return m.life.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Parent gives the process that this one succeeds, while it lives.
func (m *Manager) Parent() (Process, bool) {
	if m.parent == nil {
		return Process{}, false
	}
	return m.parent.Process, m.parent.lives()
}

// Status looks at the Manager.
func (m *Manager) Status() Status {
	s := Status{Generation: m.generation, PID: os.Getpid(), State: m.life.current(), Handoff: m.handoffID()}
	if p, ok := m.Parent(); ok {
		s.Parent = &p
	}
	for _, a := range m.ancestors.living() {
		s.Draining = append(s.Draining, a.Process)
	}
	if succ := m.successor.Load(); succ != nil {
		s.Successor = &Process{PID: succ.child.PID(), Generation: m.generation + 1}
	}
	for _, sock := range m.sockets.Sockets() {
		s.Sockets = append(s.Sockets, describeSocket(sock))
	}
	return s
}

func (m *Manager) handoffID() string { return m.handoff.Load().(string) }

// Report tells the observers of something that a package which builds on this one has to say, as a [Reported].
func (m *Manager) Report(r Report) { m.emit(Reported{r}) }

// emit tells the observers of an event.
func (m *Manager) emit(e Event) {
	if len(m.opts.observers) == 0 {
		return
	}
	r := Record{Time: time.Now(), Generation: m.generation, PID: os.Getpid(), Role: m.role(), Handoff: m.handoffID(), Event: e}
	for _, o := range m.opts.observers {
		o.Observe(r)
	}
}

func (m *Manager) role() Role {
	switch m.life.current() {
	case StateStarting:
		if m.parent != nil {
			return RoleSuccessor
		}
	case StateDraining, StateDone:
		return RoleDraining
	}
	return RoleServing
}
