package grace

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
)

// recorder keeps the events of a Manager.
type recorder struct {
	mu     sync.Mutex
	events []graceevent.Event
}

func (r *recorder) Observe(_ context.Context, rec graceevent.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, rec.Event)
}

// find returns the events of one type.
func find[E graceevent.Event](r *recorder) (found []E) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// newServing returns a Manager of generation 2 that serves, with the parent that it succeeds.
func newServing(t *testing.T, opts ...Option) (*Manager, *fakeParent, *recorder) {
	t.Helper()
	rec := &recorder{}
	m, p := newSuccessor(t, append(opts, WithObserver(rec))...)
	result := ready(t.Context(), m)
	p.in <- &handoff.Commit{}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	<-p.out // Ready
	<-p.out // Serving
	return m, p, rec
}

// A parent that outlives its drain timeout is asked to go, and then made to.
func TestOverdueParentIsSignalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, rec := newServing(t)
		var asked []Process
		m.Append(Hook{OnParentKill: func(_ context.Context, p Process) error { asked = append(asked, p); return nil }})
		began := time.Now()
		if sig := <-p.signals; sig != syscall.SIGTERM || time.Since(began) != 30*time.Second+generation.OverdueGrace {
			t.Errorf("%v after %v", sig, time.Since(began))
		}
		if sig := <-p.signals; sig != syscall.SIGKILL || time.Since(began) != 30*time.Second+generation.OverdueGrace+generation.TermTimeout {
			t.Errorf("%v after %v", sig, time.Since(began))
		}
		p.die()
		synctest.Wait()
		if want := []Process{{PID: 12, Generation: 1}}; !slices.Equal(asked, want) {
			t.Errorf("OnParentKill was asked about %v", asked)
		}
		if exits := find[graceevent.ParentExited](rec); len(exits) != 1 || exits[0].Signal != syscall.SIGKILL || exits[0].Drained || exits[0].State != "exit status 7" {
			t.Errorf("exits: %+v", exits)
		}
		shutDown(t, m)
	})
}

// A process that goes on SIGTERM is not killed, and one that leaves in time is not signalled.
func TestParentThatLeavesIsSparedTheRest(t *testing.T) {
	for name, c := range map[string]struct {
		leaves  time.Duration
		signals int
		signal  any
	}{
		"in time":  {30 * time.Second, 0, nil},
		"late":     {30*time.Second + generation.OverdueGrace - 1, 0, nil},
		"signaled": {30*time.Second + generation.OverdueGrace + 1, 1, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p, rec := newServing(t)
				time.Sleep(c.leaves)
				p.in <- &handoff.Drained{Duration: c.leaves, Cut: []handoff.Cut{{Socket: "tcp :80", Connections: 3}}}
				p.die()
				time.Sleep(time.Hour)
				if len(p.signals) != c.signals {
					t.Errorf("%d signals", len(p.signals))
				}
				exits := find[graceevent.ParentExited](rec)
				if len(exits) != 1 || !exits[0].Drained || exits[0].Drain != c.leaves || !slices.Equal(exits[0].Cut, []graceevent.Cut{{Socket: "tcp :80", Connections: 3}}) {
					t.Fatalf("exits: %+v", exits)
				}
				if c.signal == nil && exits[0].Signal != nil || c.signal != nil && exits[0].Signal != c.signal {
					t.Errorf("the signal is %v", exits[0].Signal)
				}
				shutDown(t, m)
			})
		})
	}
}

func TestOnParentKillCanObject(t *testing.T) {
	for name, hook := range map[string]func(context.Context, Process) error{
		"an error":  func(context.Context, Process) error { return errWhy },
		"no answer": func(ctx context.Context, _ Process) error { <-ctx.Done(); return errWhy },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p, rec := newServing(t)
				later := false
				m.Append(Hook{Name: "debugger", OnParentKill: hook})
				m.Append(Hook{OnParentKill: func(context.Context, Process) error { later = true; return nil }})
				time.Sleep(time.Hour)
				if len(p.signals) > 0 || later {
					t.Errorf("%d signals, the next hook ran: %v", len(p.signals), later)
				}
				stays := find[graceevent.AncestorStays](rec)
				if len(stays) != 1 || !errors.Is(stays[0].Err, errWhy) || stays[0].Process != p.process() ||
					!strings.Contains(stays[0].Err.Error(), "its drain timeout has passed, but") {
					t.Errorf("it stays: %v", stays)
				}
				p.die()
				synctest.Wait()
				if exits := find[graceevent.ParentExited](rec); len(exits) != 1 || exits[0].Signal != nil {
					t.Errorf("exits: %+v", exits)
				}
				shutDown(t, m)
			})
		})
	}
}

// Without a descriptor for it, a process that is not our parent is left alone.
func TestAncestorThatCannotBeSignalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		l := newFakeLink()
		old := generation.New(Process{PID: 7, Generation: 1}, l, generation.Unwatched{})
		p := newFakeParent()
		told := generation.New(Process{PID: 6}, newFakeLink(), generation.Unwatched{})
		from := inheritance{generation: 3, sockets: fds.New(), older: []*generation.Older{told, old}}
		from.parent = newParent(p.fakeLink, &handoff.Hello{PID: 12, Generation: 3, Timeout: time.Minute, Drain: time.Minute}, p)
		m := newFakeManager(t, from, nil, WithObserver(rec))
		result := ready(t.Context(), m)
		p.in <- &handoff.Commit{Followed: []handoff.Followed{{Generation: 1, Left: time.Second}}}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if want := []Process{{PID: 7, Generation: 1}, {PID: 12, Generation: 2}}; !slices.Equal(m.Status().Draining, want) {
			t.Errorf("draining: %v", m.Status().Draining)
		}
		time.Sleep(time.Second + 1)
		stays := find[graceevent.AncestorStays](rec)
		if len(stays) != 1 || !errors.Is(stays[0].Err, errors.ErrUnsupported) {
			t.Errorf("it stays: %v", stays)
		}
		l.hangUp()
		synctest.Wait()
		if exits := find[graceevent.AncestorExited](rec); len(exits) != 1 || exits[0].PID != 7 || len(m.Status().Draining) != 1 {
			t.Errorf("exits: %+v, draining: %v", exits, m.Status().Draining)
		}
		shutDown(t, m)
	})
}

// What a parent says while an upgrade runs is not lost if that fails.
func TestParentIsFollowedAgainAfterAFailedUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, rec := newServing(t)
		r := &rig{Manager: m, script: func(f *fakeSuccessor) {
			f.hear()
			p.in <- &handoff.Drained{Duration: time.Second}
			p.die()
			time.Sleep(time.Second)
			f.say(&handoff.Failed{Reason: "no"})
		}}
		m.opts.wires.Launch = r.launch
		p.in <- &handoff.Drained{Duration: 2 * time.Second} // heard before the upgrade, and given back
		synctest.Wait()
		if err := m.Upgrade(t.Context()); err == nil {
			t.Error("the upgrade has not failed")
		}
		synctest.Wait()
		if exits := find[graceevent.ParentExited](rec); len(exits) != 1 || !exits[0].Drained {
			t.Errorf("exits: %+v", exits)
		}
		r.finish(t)
	})
}

// Told to leave, a process that drains ends the contexts of its hooks.
func TestLeaveEndsTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var cause error
		r.Append(Hook{OnDrain: func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil }})
		r.script = func(f *fakeSuccessor) {
			upright(f)
			time.Sleep(10 * time.Second)
			f.say(&handoff.Leave{Reason: "too many"})
		}
		began := time.Now()
		if err := errors.Join(r.Upgrade(t.Context()), r.Wait(t.Context())); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 10*time.Second || cause == nil || !strings.Contains(cause.Error(), "too many") {
			t.Errorf("the drain ended after %v, since %v", took, cause)
		}
		r.finish(t)
	})
}

func TestTooManyDrainingBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, _ := newServing(t, WithMaxDraining(1))
		r := &rig{Manager: m, script: upright}
		m.opts.wires.Launch = r.launch
		r.appendHooks("a")
		err := m.Upgrade(t.Context())
		var up *UpgradeError
		if !errors.Is(err, ErrTooManyDraining) || !errors.As(err, &up) || up.Step != StepRoom || r.takeCalls() != "" {
			t.Errorf("Upgrade returned %v", err)
		}
		p.die()
		synctest.Wait()
		if err := m.Upgrade(t.Context()); err != nil {
			t.Error(err)
		}
		r.finish(t)
	})
}

// The oldest is told to leave, then signalled; who objects to that prevents the upgrade.
func TestEndOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, _ := newServing(t, WithMaxDraining(1, WithEndOldest()))
		r := &rig{Manager: m, script: upright}
		m.opts.wires.Launch = r.launch
		veto := errWhy
		m.Append(Hook{OnParentKill: func(context.Context, Process) error { return veto }})
		if err := m.Upgrade(t.Context()); !errors.Is(err, ErrTooManyDraining) || !errors.Is(err, errWhy) {
			t.Errorf("Upgrade returned %v", err)
		}
		if got := handoff.Name(<-p.out); got != "Leave" || len(p.signals) > 0 {
			t.Errorf("it was told %s, and sent %d signals", got, len(p.signals))
		}
		veto = nil
		go func() {
			<-p.out
			<-p.signals
			p.die()
		}()
		if err := m.Upgrade(t.Context()); err != nil {
			t.Error(err)
		}
		r.finish(t)
	})
}

// A parent that has not read Serving does not drain. It is not overdue before it has decided, nor after it has taken the service
// back: a signal would end the only process that serves.
func TestParentThatTakesTheServiceBackIsSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		m.parent.drain = time.Second
		m.Append(Hook{OnDrain: func(context.Context) error { time.Sleep(20 * time.Second); return nil }}) // the last clients take their time
		result := ready(t.Context(), m)
		p.in <- &handoff.Commit{}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		time.Sleep(commitTimeout)
		p.in <- &handoff.Abort{Reason: "no Serving"}
		if err := m.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if len(p.signals) > 0 {
			t.Errorf("it was sent %v", <-p.signals)
		}
	})
}
