package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
)

// place is where a Manager calls a function of the application.
type place struct {
	name string
	step Step // at which an error of the function fails an upgrade; "" if it fails none
	// begin makes a Manager and has it call f there. It returns the error of what called.
	begin func(t *testing.T, f func(*Manager) error) (*Manager, error)
}

// upgrading is a place of an upgrade, which set puts f into.
func upgrading(
	script func(*fakeSuccessor), set func(r *rig, f func() error) Option, opts ...Option,
) func(*testing.T, func(*Manager) error) (*Manager, error) {
	return func(t *testing.T, f func(*Manager) error) (*Manager, error) {
		var r *rig
		opt := set(nil, func() error { return f(r.Manager) })
		if opt != nil {
			opts = append(opts, opt)
		}
		r = newRig(t, opts...)
		r.script = script
		r.program.envFunc = r.opts.env
		r.program.path, _ = os.Executable()
		set(r, func() error { return f(r.Manager) })
		err := r.Upgrade(t.Context())
		for _, s := range r.successors {
			s.die()
		}
		return r.Manager, err
	}
}

// appending is for upgrading where f is a part of a hook or a state.
func appending(add func(m *Manager, f func() error)) func(*rig, func() error) Option {
	return func(r *rig, f func() error) Option {
		if r != nil {
			add(r.Manager, f)
		}
		return nil
	}
}

// choosing is for upgrading where f is a part of an option.
func choosing(opt func(f func() error) Option) func(*rig, func() error) Option {
	return func(r *rig, f func() error) Option {
		if r != nil {
			return nil
		}
		return opt(f)
	}
}

// accepting is a successor on probation.
func accepting(f *fakeSuccessor) {
	f.hear()
	f.say(&handoff.Ready{})
	f.hear()
	switch f.hear() {
	case "Commit":
		f.say(&handoff.Serving{})
	case "Abort":
		f.die()
	}
}

func refusing(f *fakeSuccessor) { f.hear(); f.say(&handoff.Failed{Reason: "no disk"}) }

// succeeding is a place in a successor of facebookgo/grace, whose parent has ended.
func succeeding(hook func(f func() error) Hook) func(*testing.T, func(*Manager) error) (*Manager, error) {
	return func(t *testing.T, f func(*Manager) error) (*Manager, error) {
		m, p := newLegacySuccessor(t)
		m.Append(hook(func() error { return f(m) }))
		err := <-ready(t.Context(), m)
		close(p.gone)
		synctest.Wait()
		return m, err
	}
}

// places are those whose errors somebody is told.
var places = []place{
	{"OnUpgrade", StepHooks, upgrading(upright, appending(func(m *Manager, f func() error) {
		m.Append(Hook{OnUpgrade: func(context.Context) error { return f() }})
	}))},
	{"OnUpgradeFailed", StepReady, upgrading(refusing, appending(func(m *Manager, f func() error) {
		m.Append(Hook{OnUpgradeFailed: func(context.Context, error) error { return f() }})
	}))},
	{"check", StepCheck, upgrading(upright, choosing(func(f func() error) Option {
		return WithCheck(func(context.Context, string) error { return f() })
	}))},
	{"WithEnv", StepStart, upgrading(upright, choosing(func(f func() error) Option {
		return WithEnv(func(context.Context, []string) ([]string, error) { return nil, f() })
	}))},
	{"PassState", StepState, upgrading(upright, appending(func(m *Manager, f func() error) {
		_ = m.PassState("state", func(context.Context) ([]byte, error) { return nil, f() })
	}))},
	{"health check", StepProbation, upgrading(accepting, choosing(func(f func() error) Option {
		check := func(context.Context, Process) error { return f() }
		return WithProbation(time.Minute, WithHealthCheck(check))
	}))},
	{"OnReady", "", succeeding(func(f func() error) Hook {
		return Hook{OnReady: func(context.Context) error { return f() }}
	})},
	{"OnDrain", "", func(t *testing.T, f func(*Manager) error) (*Manager, error) {
		r := newRig(t)
		r.Append(Hook{OnDrain: func(context.Context) error { return f(r.Manager) }})
		return r.Manager, r.Shutdown(t.Context())
	}},
}

// silentPlaces are those whose errors are events, or objections.
var silentPlaces = []place{
	{"OnParentKill", "", succeeding(func(f func() error) Hook {
		return Hook{OnParentKill: func(context.Context, Process) error { return f() }}
	})},
	{"OnParentExit", "", succeeding(func(f func() error) Hook {
		return Hook{OnParentExit: func(context.Context, Exit) error { return f() }}
	})},
	{"OnParentKill of an overdue parent", "", func(t *testing.T, f func(*Manager) error) (*Manager, error) {
		m, p, _ := newServing(t)
		m.Append(Hook{OnParentKill: func(context.Context, Process) error { return f(m) }})
		time.Sleep(time.Hour)
		close(p.gone)
		synctest.Wait()
		return m, nil
	}},
}

// failures are the ways in which a function does not return.
var failures = map[string]struct {
	f    func()
	is   error
	says string
}{
	"panic":         {f: func() { panic("boom") }, says: "panic: boom"},
	"panic(error)":  {f: func() { panic(errWhy) }, is: errWhy},
	"panic(nil)":    {f: func() { panic(nil) }, says: "panic called with nil"},
	"runtime error": {f: func() { _ = make([]int, 1)[len(os.Args)] }, says: "out of range"},
	"Goexit":        {f: runtime.Goexit, is: wait.ErrGoexit},
}

// A function of the application that panics, or ends its goroutine, is an error at once: the process
// keeps serving, and can upgrade again.
func TestFunctionThatDoesNotReturn(t *testing.T) {
	for _, p := range places {
		for how, fail := range failures {
			t.Run(p.name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began, failing := time.Now(), true
					m, err := p.begin(t, func(*Manager) error {
						if failing {
							fail.f()
						}
						return nil
					})
					if time.Since(began) > 0 {
						t.Errorf("it took %v", time.Since(began))
					}
					checkNoReturn(t, err, how != "Goexit", fail.is, fail.says)
					var up *UpgradeError
					if errors.As(err, &up) != (p.step != "") || up != nil && up.Step != p.step {
						t.Errorf("the error is %#v", err)
					}
					failing = false
					if p.step != "" && m.Status().State != StateServing {
						t.Errorf("the state is %v", m.Status().State)
					}
					if err := m.Shutdown(t.Context()); err != nil && p.name != "OnDrain" {
						t.Error(err)
					}
				})
			})
		}
	}
}

// checkNoReturn expects the error of a function that did not return.
func checkNoReturn(t *testing.T, err error, panicked bool, is error, says string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), says) {
		t.Errorf("the error is %v", err)
	}
	var p *PanicError
	if errors.As(err, &p) != panicked {
		t.Errorf("a PanicError: %v, in %v", !panicked, err)
	}
	if panicked && !strings.Contains(string(p.Stack), "callback_test.go") {
		t.Errorf("the stack is %s", p.Stack)
	}
}

// Where nobody waits for the error, it is an event, or an objection.
func TestSilentFunctionThatDoesNotReturn(t *testing.T) {
	for _, p := range silentPlaces {
		for how, fail := range failures {
			t.Run(p.name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, err := p.begin(t, func(*Manager) error { fail.f(); return nil })
					if err != nil || m.Status().State != StateServing {
						t.Errorf("the state is %v, the error %v", m.Status().State, err)
					}
					shutDown(t, m)
				})
			})
		}
	}
}

// An observer that fails fails nothing else. The other observers are told.
func TestObserverThatFails(t *testing.T) {
	for how, fail := range failures {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				bad := graceevent.ObserverFunc(func(context.Context, graceevent.Record) { fail.f() })
				r := newRig(t, WithObserver(bad), WithObserver(rec))
				if err := r.Upgrade(t.Context()); err != nil {
					t.Error(err)
				}
				r.finish(t)
				failed, all := find[graceevent.ObserverFailed](rec), len(rec.events)
				if len(failed) == 0 || len(failed) != all/2 {
					t.Fatalf("%d events, of which %d were failures", all, len(failed))
				}
				checkNoReturn(t, failed[0].Err, how != "Goexit", fail.is, fail.says)
			})
		})
	}
}

// A single observer is nobody else's: what would have ended the process is printed.
func TestOnlyObserverThatFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = w
	m := newTestManager(t, WithObserver(graceevent.ObserverFunc(func(_ context.Context, r graceevent.Record) {
		if _, ok := r.Event.(graceevent.ReadyStarted); ok {
			panic("boom")
		}
	})))
	err = m.Ready(t.Context())
	os.Stderr = stderr
	w.Close()
	defer r.Close()
	printed := make([]byte, 1<<16)
	n, _ := r.Read(printed)
	if text := string(printed[:n]); err != nil || !strings.Contains(text, "ReadyStarted: panic: boom") ||
		!strings.Contains(text, "callback_test.go") {
		t.Errorf("Ready returned %v and printed %q", err, text)
	}
}

// A part of the service that ends its goroutine has failed. (One that panics ends the process.)
func TestPartThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		r.Go(func() error { runtime.Goexit(); return nil })
		if err := r.Wait(t.Context()); !errors.Is(err, wait.ErrGoexit) || time.Since(began) > 0 {
			t.Errorf("Wait returned %v after %v", err, time.Since(began))
		}
	})
}

// The connection of a handler that fails is closed, since nobody else has it, and the others go on.
func TestTransferHandlerThatFails(t *testing.T) {
	for how, fail := range failures {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				r := newRig(t, WithObserver(rec))
				ours, theirs := net.Pipe()
				go r.guarded("chat", func(net.Conn, []byte) { fail.f() })(ours, nil) // ends at once
				if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the client reads %v", err)
				}
				synctest.Wait()
				failed := find[graceevent.TransferHandlerFailed](rec)
				if len(failed) != 1 || failed[0].Name != "chat" {
					t.Fatalf("events: %v", failed)
				}
				checkNoReturn(t, failed[0].Err, how != "Goexit", fail.is, fail.says)
				r.finish(t)
			})
		})
	}
}
