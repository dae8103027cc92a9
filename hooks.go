package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Hook is a set of functions that are called at certain moments of a handoff. Each may be nil.
//
// They run one after another, in the order in which their hooks were appended; OnDrain and OnUpgradeFailed, which undo what
// others have done, in reverse. Each gets a context with a deadline, and is left behind if it has not returned a second after
// that. After an error of OnUpgrade or OnReady, the functions that would follow are not called; those of the other kinds all
// run. Every error is part of what the caller gets, but for those of OnParentExit, which nobody calls for: they are events.
type Hook struct {
	// Name stands in events and errors.
	Name string

	// OnUpgrade runs in the old process before the successor is started: to release what only one process can hold. Its error
	// cancels the upgrade.
	OnUpgrade func(context.Context) error

	// OnUpgradeFailed runs in the old process after a failed upgrade, whose error it is told, when the successor is gone: to
	// take back what OnUpgrade has released. It runs if the OnUpgrade of its hook has run without an error, or is nil.
	OnUpgradeFailed func(context.Context, error) error

	// OnReady runs before a process says that it is ready. Its error makes Ready, and with it an upgrade, fail.
	OnReady func(context.Context) error

	// OnDrain runs when the process must accept no more: to close listeners, finish what is in progress and release what is
	// held. The deadline is that of [WithDrainTimeout]. It runs before a shutdown too, also of a process that never was ready.
	// Servers of one process should be drained side by side by one hook: each has a hook of its own only if it may go on
	// accepting until the one before it has finished.
	OnDrain func(context.Context) error

	// OnParentKill runs in a successor before it signals its parent, or another older generation, that does not leave by itself:
	// first by SIGTERM, and 5 seconds later by SIGKILL. That happens 5 seconds after its drain timeout has passed, or if it has to
	// make room (see [WithEndOldest]) and does not leave within 5 seconds. An error is a veto: the process stays. A parent that
	// speaks the protocol of facebookgo/grace is signalled as soon as this process serves, since it knows no other way to learn
	// that; after a veto both serve.
	OnParentKill func(context.Context, Process) error

	// OnParentExit runs in a successor, once, when the old process is gone: now what it held alone is free. It does not run in a
	// successor that was replaced itself before that.
	OnParentExit func(context.Context, Exit) error
}

// Exit says how an older generation has ended.
type Exit struct {
	Process
	// Legacy is set if the process speaks the protocol of facebookgo/grace, in which there are no reports.
	Legacy bool
	// State is how the process ended, in the words of [os.ProcessState]: "exit status 0", "signal: killed". It is "" where the
	// system does not tell, which Linux does since 6.15.
	State string
	// Drained is set if the process reported the end of its drain. Otherwise it crashed, or was killed.
	Drained bool
	// Drain is how long the drain took.
	Drain time.Duration
	// Cut counts the connections that ended with the process, by the listener that had accepted them.
	Cut []Cut
	// Err has the text of the errors of the OnDrain hooks; nil if there was none.
	Err error
	// Signal is the last signal that this process has sent it; nil if it left by itself.
	Signal os.Signal
}

// Cut counts connections that were still open when a process had drained: they end with it.
type Cut struct {
	Socket      string // network, address and name of the listener
	Connections int
}

// hookGrace is how long a hook may take to notice that its deadline has passed.
const hookGrace = time.Second

// vetoTimeout bounds an OnParentKill. One that does not answer objects.
const vetoTimeout = 10 * time.Second

// hooks owns the appended hooks.
type hooks struct {
	mu   sync.Mutex
	list []Hook
	emit func(Event)
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
		errs = append(errs, h.run(ctx, "OnUpgradeFailed", hook.Name, with(hook.OnUpgradeFailed, cause)))
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

func (h *hooks) drain(ctx context.Context) error {
	var errs []error
	for _, hook := range slices.Backward(h.all()) {
		errs = append(errs, h.run(ctx, "OnDrain", hook.Name, hook.OnDrain))
	}
	return errors.Join(errs...)
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
	ctx, cancel := context.WithTimeout(ctx, vetoTimeout)
	defer cancel()
	return h.run(ctx, "OnParentKill", hook.Name, with(hook.OnParentKill, p))
}

func (h *hooks) parentExit(ctx context.Context, exit Exit) error {
	var errs []error
	for _, hook := range h.all() {
		errs = append(errs, h.run(ctx, "OnParentExit", hook.Name, with(hook.OnParentExit, exit)))
	}
	return errors.Join(errs...)
}

// with gives a hook that is told something the form of the others.
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
	h.emit(HookStarted{Hook: kind, Name: name})
	start := time.Now()
	err := callWithin(ctx, f)
	if err != nil {
		err = fmt.Errorf("%s hook %q: %w", kind, name, err)
	}
	h.emit(HookFinished{Hook: kind, Name: name, Duration: time.Since(start), Err: err})
	return err
}

// callWithin calls f, and leaves it behind if it outlives its context by more than hookGrace.
func callWithin(ctx context.Context, f func(context.Context) error) error {
	result := make(chan error, 1)
	go func() { result <- f(ctx) }() // ends with f
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	case <-time.After(hookGrace):
		return fmt.Errorf("has not returned %v after its deadline: %w", hookGrace, context.Cause(ctx))
	}
}
