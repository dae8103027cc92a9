package grace

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

// What happens when two things cross: an end and a wait, a cancel and a start, a message and a death.

func TestShutdownReleasesWhoWaitsAtTheGate(t *testing.T) {
	m, _ := newSuccessor(t)
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		accepted <- err
	}()
	shutDown(t, m)
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returned %v", err)
	}
}

// The function of WithEnv is the user's code: it may touch the sockets, and it may hang.
func TestEnvFunctionCanCloseListeners(t *testing.T) {
	refusal := errors.New("no secret")
	var ln net.Listener
	m := newTestManager(t, WithEnv(func(context.Context, []string) ([]string, error) { return nil, errors.Join(refusal, ln.Close()) }))
	var err error
	if ln, err = m.Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Upgrade(t.Context()); !errors.Is(err, refusal) {
		t.Errorf("Upgrade returned %v", err)
	}
}

// Functions of the application return the error of their context. Why it has ended is matched too.
func TestCauseOfAContextIsMatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Append(Hook{OnUpgrade: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		if err := r.Upgrade(t.Context()); !errors.Is(err, ErrTimeout) {
			t.Errorf("Upgrade returned %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errWhy) })
		if err := r.Upgrade(ctx); !errors.Is(err, errWhy) || !errors.Is(err, context.Canceled) {
			t.Errorf("Upgrade returned %v", err)
		}
		r.finish(t)
	})
}

func TestEnvFunctionThatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRig(t, WithEnv(func(context.Context, []string) ([]string, error) { <-release; return nil, nil }))
		r.program.envFunc = r.opts.env
		began := time.Now()
		if err := r.Upgrade(t.Context()); !errors.Is(err, ErrTimeout) {
			t.Errorf("Upgrade returned %v", err)
		}
		if took := time.Since(began); took != DefaultUpgradeTimeout+hookGrace {
			t.Errorf("Upgrade took %v", took)
		}
		close(release)
		r.finish(t)
	})
}

func TestContextThatHasEndedBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		r := newRig(t)
		if err := r.Upgrade(ctx); !errors.Is(err, why) {
			t.Errorf("Upgrade returned %v", err)
		}
		if calls := r.takeCalls(); calls != "" || len(r.successors) > 0 {
			t.Errorf("hooks ran: %q, and %d successors were started", calls, len(r.successors))
		}
		r.finish(t)
		m := newFakeManager(t, inheritance{generation: 1, sockets: fds.New()}, nil)
		if err := m.Ready(ctx); !errors.Is(err, why) {
			t.Errorf("Ready returned %v", err)
		}
		shutDown(t, m)
	})
}

// stuckInRollback is a rig with an upgrade whose OnUpgradeFailed hook ends with its context.
func stuckInRollback(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.Append(Hook{OnUpgradeFailed: func(ctx context.Context, _ error) error { <-ctx.Done(); return nil }})
	r.script = func(f *fakeSuccessor) { f.hear() }
	return r
}

func TestShutdownIsBoundedWhileAnUpgradeIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stuckInRollback(t)
		go func() { _ = r.Upgrade(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("Shutdown took %v", took)
		}
	})
}

func TestSecondSignalIsObeyedWhileAnUpgradeIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stuckInRollback(t)
		run := make(chan error, 1)
		go func() { run <- r.Run(t.Context()) }()
		synctest.Wait()
		r.signals.Upgrade <- syscall.SIGHUP
		synctest.Wait()
		r.signals.Shutdown <- syscall.SIGTERM
		synctest.Wait()
		began := time.Now()
		close(r.signals.Forced)
		if err := <-run; !errors.Is(err, ErrForced) || time.Since(began) != 0 {
			t.Errorf("Run returned %v after %v", err, time.Since(began))
		}
		r.finish(t)
	})
}

func TestPIDFileOfADrainedProcessIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, WithPIDFile(path))
		if err := errors.Join(r.Upgrade(t.Context()), r.Wait(t.Context())); err != nil { // to a release that writes no PID file
			t.Fatal(err)
		}
		if content, err := os.ReadFile(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the PID file names a process that is done: %s", content)
		}
		r.finish(t)
	})
}

func TestPathOfAClosedTypedListenerIsNotLeftByAnUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ln, err := r.ListenUnix(t.Context(), "unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(ln.Close(), r.Upgrade(t.Context()), r.Wait(t.Context())); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the path is left: %v", err)
		}
		r.finish(t)
	})
}

// A successor that was refused once is refused for good, also if the old process is gone when it asks again.
func TestAbortedSuccessorNeverServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		var gone sync.Once
		p.in <- &handoff.Abort{Reason: "too late"}
		for range 2 {
			if err := <-ready(t.Context(), m); !errors.Is(err, ErrAborted) || isOpen(m) {
				t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
			}
			gone.Do(func() {
				p.hangUp()
				close(p.gone)
			})
		}
		shutDown(t, m)
	})
}

// The old process gives up the handoff while the successor starts: the Abort is there to be read, though nothing can be sent.
func TestAbortIsReadAfterTheLinkHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		m.Append(Hook{OnReady: func(context.Context) error { time.Sleep(10 * time.Second); return nil }})
		result := ready(t.Context(), m)
		p.in <- &handoff.Abort{Reason: "too late"}
		p.hangUp()
		close(p.gone)
		if err := <-result; !errors.Is(err, ErrAborted) || isOpen(m) {
			t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
		}
		shutDown(t, m)
	})
}

// The old process has waited for Serving in vain, could not kill the successor, and keeps serving.
func TestAbortAfterServingEndsTheSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		result := ready(t.Context(), m)
		p.in <- &handoff.Commit{}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		p.in <- &handoff.Abort{Reason: "Serving came too late"}
		<-m.Done()
		if err := m.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownOfASuccessorTellsTheOldProcessFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		m.Append(Hook{OnDrain: func(context.Context) error { time.Sleep(20 * time.Second); return nil }})
		began := time.Now()
		result := make(chan error, 1)
		go func() { result <- m.Shutdown(t.Context()) }()
		if f, ok := (<-p.out).(*handoff.Failed); !ok || time.Since(began) != 0 {
			t.Errorf("it was told %v after %v", f, time.Since(began))
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// A successor that has clients, and cannot be told that it is not wanted, would wait for the end of a process that lives.
func TestSuccessorThatCannotBeToldIsAskedToLeave(t *testing.T) {
	for name, c := range map[string]struct {
		last  func(*fakeSuccessor)
		asked bool
	}{
		"its link is broken":        {func(*fakeSuccessor) {}, true},
		"it has given up by itself": {func(f *fakeSuccessor) { f.say(&handoff.Failed{Reason: "no disk"}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, WithProbation(time.Minute))
				r.script = func(f *fakeSuccessor) {
					f.hear()
					f.say(&handoff.Ready{})
					f.hear()
					c.last(f)
					f.hangUp()
				}
				began := time.Now()
				if err := r.Upgrade(t.Context()); err == nil {
					t.Error("Upgrade has succeeded")
				}
				if took := time.Since(began); took != DefaultDrainTimeout {
					t.Errorf("it was given %v to finish its work", took)
				}
				if f := r.successors[0]; f.terminated != c.asked || !f.killed {
					t.Errorf("asked by a signal: %v, killed: %v", f.terminated, f.killed)
				}
				r.finish(t)
			})
		})
	}
}
