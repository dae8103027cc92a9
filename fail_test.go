package grace

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
)

// onTrial is an upright successor up to its probation.
func onTrial(f *fakeSuccessor) {
	f.hear()
	f.say(&handoff.Ready{})
	f.hear() // Accept
}

func TestProbationInItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, WithProbation(10*time.Second))
		r.script = func(f *fakeSuccessor) {
			onTrial(f)
			f.hear()
			f.say(&handoff.Serving{})
		}
		began := time.Now()
		if err := r.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("Upgrade took %v", took)
		}
		if got := strings.Join(r.successors[0].got, " "); got != "Hello Accept Commit" {
			t.Errorf("the successor heard %s", got)
		}
		r.finish(t)
	})
}

// Whatever ends the probation: the successor may finish what it has accepted, and the old process has everything back.
func TestProbationThatComesToNothing(t *testing.T) {
	const probation, drain = 10 * time.Second, 30 * time.Second
	leaves := func(f *fakeSuccessor) { f.hear(); time.Sleep(time.Second); f.die() } // as it is told to, after a second
	for name, c := range map[string]struct {
		script func(*fakeSuccessor)
		check  func(context.Context, Process) error
		cancel time.Duration
		after  time.Duration
		killed bool
		is     error
		says   string
	}{
		"it says why": {
			script: func(f *fakeSuccessor) { f.say(&handoff.Failed{Reason: "no disk"}); leaves(f) },
			after:  time.Second, says: "no disk",
		},
		"it ends":         {script: func(f *fakeSuccessor) { f.die(); f.hangUp() }, is: io.EOF, says: "on probation"},
		"nonsense":        {script: func(f *fakeSuccessor) { f.say(&handoff.Serving{}); leaves(f) }, after: time.Second, is: ErrProtocol},
		"it is cancelled": {script: leaves, cancel: 3 * time.Second, after: 4 * time.Second, is: errWhy},
		"it is ill":       {script: leaves, check: func(context.Context, Process) error { return errWhy }, after: time.Second, is: errWhy, says: "health check"},
		"no answer": {
			script: leaves, check: func(ctx context.Context, _ Process) error { <-ctx.Done(); <-time.After(time.Hour); return nil },
			after: probation/healthChecks + time.Second, is: context.DeadlineExceeded,
		},
		"it stays": {
			script: func(f *fakeSuccessor) { f.say(&handoff.Failed{Reason: "no disk"}); f.hear() },
			after:  drain, killed: true, says: "no disk",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var more []ProbationOption
				if c.check != nil {
					more = append(more, WithHealthCheck(c.check))
				}
				r := newRig(t, WithProbation(probation, more...), WithDrainTimeout(drain))
				r.script = func(f *fakeSuccessor) { onTrial(f); c.script(f) }
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, func() { cancel(errWhy) })
				}
				began := time.Now()
				err := r.Upgrade(ctx)
				if took := time.Since(began); took != c.after {
					t.Errorf("Upgrade returned after %v and not %v", took, c.after)
				}
				checkUpgradeError(t, err, StepProbation, c.is, c.says)
				if r.successors[0].killed != c.killed {
					t.Errorf("the successor was killed: %v", r.successors[0].killed)
				}
				if got, want := r.takeCalls(), "upgrade:a upgrade:b failed:b failed:a"; got != want {
					t.Errorf("hooks ran as %q and not %q", got, want)
				}
				time.Sleep(2 * time.Hour)
				r.finish(t)
			})
		})
	}
}

func TestHealthIsAskedFiveTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		began := time.Now()
		r := newRig(t, WithProbation(10*time.Second, WithHealthCheck(func(_ context.Context, p Process) error {
			if p != (Process{PID: 4711, Generation: 2}) {
				t.Errorf("asked about %v", p)
			}
			asked = append(asked, time.Since(began))
			return nil
		})))
		r.script = func(f *fakeSuccessor) { onTrial(f); f.hear(); f.say(&handoff.Serving{}) }
		if err := r.Upgrade(t.Context()); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("Upgrade returned %v after %v", err, time.Since(began))
		}
		for i, at := range asked {
			if at != time.Duration(i)*2*time.Second {
				t.Errorf("asked at %v", asked)
			}
		}
		if len(asked) != healthChecks {
			t.Errorf("asked at %v", asked)
		}
		r.finish(t)
	})
}

// A probation that has ended asks nothing more.
func TestHealthIsNotAskedAfterTheProbation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := newRig(t, WithProbation(10*time.Second, WithHealthCheck(func(context.Context, Process) error {
			asked++
			return nil
		})))
		r.script = func(f *fakeSuccessor) {
			onTrial(f)
			time.Sleep(3 * time.Second) // two questions were asked
			f.die()
			f.hangUp()
		}
		if err := r.Upgrade(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("Upgrade returned %v", err)
		}
		time.Sleep(time.Hour)
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		r.finish(t)
	})
}

// In the successor, Fail gives up the handoff whenever it comes, until it is too late.
func TestFail(t *testing.T) {
	for name, c := range map[string]struct {
		before func(m *Manager, p *fakeParent) // what happens before Fail
		drains bool
		err    error
	}{
		"before Ready": {before: func(*Manager, *fakeParent) {}},
		"during Ready": {before: func(m *Manager, _ *fakeParent) { ready(context.Background(), m) }},
		"on probation": {
			before: func(m *Manager, p *fakeParent) {
				ready(context.Background(), m)
				p.in <- &handoff.Accept{Probation: time.Minute}
				synctest.Wait()
				if m.Status().State != StateProbation || !isOpen(m) {
					panic("not on probation")
				}
			},
			drains: true,
		},
		"after the commit": {
			before: func(m *Manager, p *fakeParent) {
				p.in <- &handoff.Commit{}
				<-ready(context.Background(), m)
			},
			err: ErrCommitted,
		},
		"after Shutdown": {before: func(m *Manager, _ *fakeParent) { _ = m.Shutdown(context.Background()) }, err: ErrShutdown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := newSuccessor(t)
				c.before(m, p)
				err := m.Fail(errWhy)
				if !errors.Is(err, errWhy) || c.err != nil && !errors.Is(err, c.err) ||
					c.err == nil && errors.Is(err, ErrCommitted) {
					t.Errorf("Fail returned %v", err)
				}
				synctest.Wait()
				if c.err == nil {
					checkFailed(t, m, p, c.drains)
				}
				shutDown(t, m)
			})
		})
	}
}

// checkFailed checks that both processes know that this one will never serve.
func checkFailed(t *testing.T, m *Manager, p *fakeParent, drains bool) {
	t.Helper()
	if err := m.Ready(t.Context()); !errors.Is(err, errWhy) {
		t.Errorf("Ready returned %v", err)
	}
	var last handoff.Message
	for len(p.out) > 0 {
		last = <-p.out
	}
	if f, ok := last.(*handoff.Failed); !ok || f.Reason != errWhy.Error() {
		t.Errorf("the old process was told %+v", last)
	}
	if got := wait.IsClosed(m.Done()); got != drains {
		t.Errorf("it drains: %v", got)
	}
	if err := m.Fail(errWhy); err == nil || err.Error() != errWhy.Error() {
		t.Errorf("Fail returned %v when it came again", err)
	}
	if err := m.Upgrade(t.Context()); err == nil {
		t.Error("it can be upgraded")
	}
}

func TestFailInAFirstGeneration(t *testing.T) {
	m := newTestManager(t)
	if err := m.Fail(errWhy); !errors.Is(err, ErrCommitted) || !errors.Is(err, errWhy) {
		t.Errorf("Fail returned %v", err)
	}
}

// A successor on probation hears that the old process keeps serving: it drains.
func TestAbortDuringProbation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		result := ready(t.Context(), m)
		p.in <- &handoff.Accept{}
		p.in <- &handoff.Abort{Reason: "it is ill"}
		if err := <-result; !errors.Is(err, ErrAborted) || !strings.Contains(err.Error(), "it is ill") {
			t.Errorf("Ready returned %v", err)
		}
		if err := m.Wait(t.Context()); err != nil || !wait.IsClosed(m.Done()) {
			t.Errorf("the drain: %v", err)
		}
	})
}
