package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// How long an older generation may take beyond what it was granted.
const (
	overdueGrace = 5 * time.Second // after its drain timeout
	leaveTimeout = 5 * time.Second // after it was told to leave
	termTimeout  = 5 * time.Second // from SIGTERM to SIGKILL
)

// watched is a process that is no child of this one.
type watched interface {
	Gone() <-chan struct{}
	Signal(syscall.Signal) error
	State(context.Context) string
	Close()
}

// unwatched stands for a process that cannot be watched: the end of its connection has to do for its own.
type unwatched struct{}

func (unwatched) Gone() <-chan struct{} {
	gone := make(chan struct{})
	close(gone)
	return gone
}

func (unwatched) Signal(syscall.Signal) error {
	return fmt.Errorf("a process without a descriptor, which is not the parent, is not signalled: %w", errors.ErrUnsupported)
}

func (unwatched) State(context.Context) string { return "" }

func (unwatched) Close() {}

// watchNumber watches our parent, of which only the number is known. That it still is our parent, once the watch has begun,
// proves that the number has not gone to another process.
func watchNumber(pid int) watched {
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

// ancestor is an older generation that may still live: the parent, or one that was draining before that began to drain.
type ancestor struct {
	Process
	link  link
	watch watched
	due   time.Time // when it is overdue

	legacy   bool          // it speaks the protocol of facebookgo/grace
	ended    chan struct{} // closed when it was seen to be gone
	killing  sync.Mutex    // held by who sends signals
	signaled atomic.Int64  // the last signal that it was sent
}

func newAncestor(p Process, l link, w watched, due time.Time) *ancestor {
	return &ancestor{Process: p, link: l, watch: w, due: due, ended: make(chan struct{})}
}

// gone is closed when the process is known to be gone.
func (a *ancestor) gone() <-chan struct{} {
	if _, blind := a.watch.(unwatched); blind {
		return a.ended
	}
	return a.watch.Gone()
}

// lives reports whether the process may still be there.
func (a *ancestor) lives() bool { return !isClosed(a.ended) && !isClosed(a.gone()) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// handle gives the descriptor of the process; nil where there is none, or the process is gone.
func (a *ancestor) handle() syscall.Conn {
	if w, ok := a.watch.(*process.Watched); ok {
		return w.Handle()
	}
	return nil
}

// leave ends the connection.
func (a *ancestor) leave() {
	_ = a.link.Close()
	a.watch.Close()
}

// ancestors owns the older generations. The serving process follows all of them, until it commits an upgrade: each is heard
// out, and ended when it is overdue.
type ancestors struct {
	m         *Manager
	mu        sync.Mutex
	all       []*ancestor // the oldest first
	stop      context.CancelFunc
	following sync.WaitGroup
}

// add takes older generations.
func (as *ancestors) add(more ...*ancestor) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.all = append(as.all, more...)
}

// living gives those that may still be there, the oldest first.
func (as *ancestors) living() []*ancestor {
	as.mu.Lock()
	defer as.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(as.all), func(a *ancestor) bool { return !a.lives() })
}

// follow follows all of them, until pause or the end of this process's drain.
func (as *ancestors) follow() {
	as.mu.Lock()
	defer as.mu.Unlock()
	var ctx context.Context
	ctx, as.stop = context.WithCancel(as.m.draining)
	for _, a := range as.all {
		as.following.Go(func() { as.m.follow(ctx, a) }) // ends with ctx or the ancestor
	}
}

// pause ends follow, and waits until nobody reads their links.
func (as *ancestors) pause() {
	as.mu.Lock()
	if as.stop != nil {
		as.stop()
	}
	as.mu.Unlock()
	as.following.Wait()
}

// leave ends all connections.
func (as *ancestors) leave() {
	as.pause()
	as.mu.Lock()
	defer as.mu.Unlock()
	for _, a := range as.all {
		a.leave()
	}
	as.all = nil
}

// forget drops an ancestor that is gone.
func (as *ancestors) forget(a *ancestor) {
	close(a.ended)
	a.leave()
	as.mu.Lock()
	defer as.mu.Unlock()
	as.all = slices.DeleteFunc(as.all, func(other *ancestor) bool { return other == a })
}

// bequests describe the connections to those that live, for a successor that is to follow them.
func (as *ancestors) bequests() []bequest {
	var all []bequest
	for _, a := range as.living() {
		handle := a.handle()
		if a.legacy && handle == nil {
			continue // the end of its link is not its own: nothing would tell whether it lives
		}
		all = append(all, bequest{conn: a.link, about: handoff.ExtraFile{
			Use: handoff.UseLink, PID: a.PID, Generation: a.Generation, Legacy: a.legacy,
		}})
		if handle != nil {
			all = append(all, bequest{conn: handle, about: handoff.ExtraFile{Use: handoff.UseProcess, PID: a.PID, Generation: a.Generation}})
		}
	}
	return all
}

// followed says how far they were followed, for a successor that is to go on with it. They are paused.
func (as *ancestors) followed() []handoff.Followed {
	var all []handoff.Followed
	for _, a := range as.living() {
		all = append(all, handoff.Followed{Generation: a.Generation, Left: max(0, time.Until(a.due)), Heard: a.link.Heard()})
	}
	return all
}

// resume goes on where the old process has stopped. It does not mention those whose end it has told.
func (as *ancestors) resume(followed []handoff.Followed) {
	as.keep(func(a *ancestor) bool {
		i := slices.IndexFunc(followed, func(f handoff.Followed) bool { return f.Generation == a.Generation })
		if i >= 0 {
			a.due = time.Now().Add(followed[i].Left)
			a.link.Prepend(followed[i].Heard)
		}
		return i >= 0
	})
}

// keep drops the others.
func (as *ancestors) keep(which func(*ancestor) bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.all = slices.DeleteFunc(as.all, func(a *ancestor) bool {
		if which(a) {
			return false
		}
		a.leave()
		return true
	})
}

// errOverdue is the reason for which an ancestor is ended that has drained for too long.
var errOverdue = errors.New("its drain timeout has passed")

// follow hears an older generation out, and ends it when it is overdue.
func (m *Manager) follow(ctx context.Context, a *ancestor) {
	bounded, cancel := context.WithDeadlineCause(ctx, a.due, errOverdue)
	defer cancel()
	last, err := m.awaitEnd(bounded, a, nil)
	if errors.Is(err, errOverdue) {
		if err := m.kill(ctx, a, errOverdue); err != nil {
			m.emit(Warned{err})
		}
		last, err = m.awaitEnd(ctx, a, last)
	}
	if err != nil {
		if last != nil {
			_ = a.link.Unread(last) // for who follows it next
		}
		return
	}
	exit := a.exit(ctx, last)
	m.ancestors.forget(a)
	if m.parent == nil || a != m.parent.ancestor {
		m.emit(AncestorExited{exit})
		return
	}
	m.emit(ParentExited{exit})
	m.watching.Go(func() { m.parentExited(exit) }) // ends with the hooks; an upgrade does not cut them short
}

func (m *Manager) parentExited(exit Exit) {
	ctx, cancel := context.WithTimeout(m.draining, m.opts.upgradeTimeout)
	defer cancel()
	_ = m.hooks.parentExit(ctx, exit) // its errors are events
}

// awaitEnd waits until the process is gone, and gives its last words if it has had any, before or now. When ctx ends it
// returns the cause.
func (m *Manager) awaitEnd(ctx context.Context, a *ancestor, last *handoff.Drained) (*handoff.Drained, error) {
	for {
		msg, err := a.link.Receive(ctx)
		if err != nil && ctx.Err() != nil {
			return last, context.Cause(ctx)
		}
		if err != nil {
			break // there is nothing more to hear
		}
		switch msg := msg.(type) {
		case *handoff.Drained:
			last = msg
		case *handoff.Abort: // it has waited too long for Serving
			m.giveBack(msg)
			return nil, errGivenBack
		}
	}
	select {
	case <-a.watch.Gone():
		return last, nil
	case <-ctx.Done():
		return last, context.Cause(ctx)
	}
}

// errGivenBack ends the following of a parent that serves on: it is not overdue.
var errGivenBack = errors.New("the parent serves on")

// giveBack ends this process, which has begun to serve, since the old one serves on.
func (m *Manager) giveBack(msg *handoff.Abort) {
	m.sockets.Disown()
	m.emit(Warned{fmt.Errorf("%w, after this process began to serve: shutting down: %s", ErrAborted, msg.Reason)})
	go func() { _ = m.Shutdown(context.Background()) }() // ends with the drain
}

// exit says how the process has ended.
func (a *ancestor) exit(ctx context.Context, last *handoff.Drained) Exit {
	e := Exit{Process: a.Process, State: a.watch.State(ctx), Legacy: a.legacy}
	if sig := syscall.Signal(a.signaled.Load()); sig != 0 {
		e.Signal = sig
	}
	if last == nil {
		return e
	}
	e.Drained, e.Drain = true, last.Duration
	if last.Error != "" {
		e.Err = errors.New(last.Error)
	}
	for _, c := range last.Cut {
		e.Cut = append(e.Cut, Cut{Socket: c.Socket, Connections: c.Connections})
	}
	return e
}

// evict ends an older generation that is in the way: it is told to leave, and killed if it does not.
func (m *Manager) evict(ctx context.Context, a *ancestor, reason error) error {
	m.sayLeave(a, reason)
	if a.goneWithin(ctx, leaveTimeout) {
		return nil
	}
	return m.kill(ctx, a, reason)
}

// kill ends an older generation by SIGTERM, and then by SIGKILL, unless a hook objects. It returns nil when the process is gone.
func (m *Manager) kill(ctx context.Context, a *ancestor, reason error) error {
	a.killing.Lock()
	defer a.killing.Unlock()
	if !a.lives() {
		return nil
	}
	if err := m.hooks.parentKill(ctx, a.Process); err != nil {
		return fmt.Errorf("generation %d (process %d) stays, though %w: %w", a.Generation, a.PID, reason, err)
	}
	for _, s := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, termTimeout}, {syscall.SIGKILL, killTimeout}} {
		if err := m.signalAncestor(ctx, a, s.signal); err != nil {
			return fmt.Errorf("generation %d (process %d) stays, though %w: %w", a.Generation, a.PID, reason, err)
		}
		if a.goneWithin(ctx, s.wait) {
			return nil
		}
	}
	return fmt.Errorf("generation %d (process %d) has not ended %v after it was killed", a.Generation, a.PID, killTimeout)
}

func (m *Manager) sayLeave(a *ancestor, reason error) {
	ctx, cancel := context.WithTimeout(context.Background(), sayTimeout)
	defer cancel()
	_ = a.link.Send(ctx, &handoff.Leave{Reason: reason.Error()})
}

func (m *Manager) signalAncestor(ctx context.Context, a *ancestor, sig syscall.Signal) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := a.watch.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	a.signaled.Store(int64(sig))
	m.emit(AncestorSignalled{Process: a.Process, Signal: sig})
	return nil
}

// goneWithin waits for the end of the process.
func (a *ancestor) goneWithin(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-a.gone():
		return true
	case <-ctx.Done():
		return false
	}
}
