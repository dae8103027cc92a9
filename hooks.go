package grace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/closed"
	"github.com/go-grace/grace/internal/wait"
)

// Hook is a set of functions that are called at certain moments of a handoff. Each may be nil.
//
// They run one after another, in the order in which their hooks were appended; OnUpgradeFailed,
// which undoes what others have done, in reverse; OnDrain side by side. Each gets a context with a
// deadline, and is left behind if it has not returned a second after that. A function that panics
// has failed with a [*PanicError], or with nobody to tell if it was left behind. None of them can
// wait for the Manager, see [ErrCallback]. After an error of
// OnUpgrade or OnReady the functions that would follow are not called; those of the other kinds all
// run. Every error is part of what the caller gets, except that of OnParentExit, which nobody calls
// for: it is an event.
type Hook struct {
	// Name stands in events and errors.
	Name string

	// OnUpgrade runs in the old process before the successor is started: to release what only one
	// process can hold. Its error cancels the upgrade.
	OnUpgrade func(context.Context) error

	// OnUpgradeFailed runs in the old process after a failed upgrade, whose error it is told, when
	// the successor is gone: to take back what OnUpgrade has released. It runs if the OnUpgrade of
	// its hook has run without an error, or is nil.
	OnUpgradeFailed func(context.Context, error) error

	// OnReady runs before a process says that it is ready. Its error makes Ready, and with it an
	// upgrade, fail.
	OnReady func(context.Context) error

	// OnDrain runs when the process must accept nothing more: to finish what is in progress. The
	// deadline is that of [WithDrainTimeout]. All OnDrain functions run side by side, before a
	// shutdown too, and in a process that never was ready. An error is part of what Run returns,
	// even that of the context at the deadline; but not one that only says that a listener is
	// closed, which others may have done (see [Manager.Go]). What the functions may still need,
	// such as a database, is closed when Run or Wait has returned.
	OnDrain func(context.Context) error

	// OnParentKill runs in a successor before it signals its parent, or another older generation,
	// that does not leave by itself: first by SIGTERM, and 5 seconds later by SIGKILL. That happens
	// 5 seconds after its drain timeout has passed, or if it has to make room (see [WithEndOldest])
	// and does not leave within 5 seconds. An error is a veto: the process stays. A parent that
	// speaks the protocol of facebookgo/grace is signalled as soon as this process serves, because
	// it knows no other way to learn that; after a veto both serve.
	OnParentKill func(context.Context, Process) error

	// OnParentExit runs in a successor, once, when the old process is gone: now what it held alone
	// is free. It does not run in a successor that was replaced itself before that.
	OnParentExit func(context.Context, Exit) error
}

// Process names a generation of the service.
type Process = graceevent.Process

// Exit says how an older generation has ended.
type Exit = graceevent.Exit

// hookGrace is how long a hook may take to notice that its deadline has passed.
const hookGrace = time.Second

// vetoTimeout bounds an OnParentKill. One that does not answer objects.
const vetoTimeout = 10 * time.Second

// hooks owns the appended hooks.
type hooks struct {
	emit func(context.Context, graceevent.Event)
	mu   sync.Mutex
	list []Hook
}

func (h *hooks) append(hook Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, hook)
}

func (h *hooks) all() []Hook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// upgrade runs OnUpgrade. It returns the hooks that are to be undone if the upgrade fails.
func (h *hooks) upgrade(ctx context.Context) ([]Hook, error) {
	all := h.all()
	for i, hook := range all {
		if err := h.run(ctx, "OnUpgrade", hook.Name, hook.OnUpgrade); err != nil {
			return all[:i], err
		}
	}
	return all, nil
}

// upgradeFailed runs OnUpgradeFailed of the hooks that upgrade has returned.
func (h *hooks) upgradeFailed(ctx context.Context, ran []Hook, cause error) error {
	var errs []error
	for _, hook := range slices.Backward(ran) {
		undo := with(hook.OnUpgradeFailed, cause)
		errs = append(errs, h.run(ctx, "OnUpgradeFailed", hook.Name, undo))
	}
	return errors.Join(errs...)
}

func (h *hooks) ready(ctx context.Context) error {
	for _, hook := range h.all() {
		if err := h.run(ctx, "OnReady", hook.Name, hook.OnReady); err != nil {
			return err
		}
	}
	return nil
}

// drain runs OnDrain of all hooks side by side.
func (h *hooks) drain(ctx context.Context) error {
	all := h.all()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, hook := range all {
		running.Go(func() { // ends soon after ctx
			errs[i] = h.run(ctx, "OnDrain", hook.Name, unlessClosed(hook.OnDrain))
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// unlessClosed returns a function that calls f, and does not mind that a listener which f closes is
// closed already.
func unlessClosed(f func(context.Context) error) func(context.Context) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context) error {
		if err := f(ctx); !closed.Listener(err) {
			return err
		}
		return nil
	}
}

// parentKill asks whether a process may be signalled. The first objection counts.
func (h *hooks) parentKill(ctx context.Context, p Process) error {
	for _, hook := range h.all() {
		if err := h.ask(ctx, hook, p); err != nil {
			return err
		}
	}
	return nil
}

func (h *hooks) ask(ctx context.Context, hook Hook, p Process) error {
	ctx, cancel := wait.WithTimeout(ctx, vetoTimeout, context.DeadlineExceeded)
	defer cancel()
	return h.run(ctx, "OnParentKill", hook.Name, with(hook.OnParentKill, p))
}

func (h *hooks) parentExit(ctx context.Context, exit Exit) {
	for _, hook := range h.all() {
		// Its error is an event.
		_ = h.run(ctx, "OnParentExit", hook.Name, with(hook.OnParentExit, exit))
	}
}

// with returns a hook function that takes a value in the form of the others.
func with[T any](f func(context.Context, T) error, value T) func(context.Context) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context) error { return f(ctx, value) }
}

// run calls one function of a hook.
func (h *hooks) run(ctx context.Context, kind, name string, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	h.emit(ctx, graceevent.HookStarted{Hook: kind, Name: name})
	start := time.Now()
	err := call(ctx, hookGrace, f)
	if err != nil {
		err = fmt.Errorf("%s hook %q: %w", kind, name, err)
	}
	h.emit(ctx, graceevent.HookFinished{
		Hook: kind, Name: name, Duration: time.Since(start), Err: err,
	})
	return err
}
