package grace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
)

// newLegacySuccessor returns a Manager whose parent speaks the protocol of facebookgo/grace.
func newLegacySuccessor(t *testing.T, opts ...Option) (*Manager, *fakeParent) {
	t.Helper()
	p := newFakeParent()
	p.hangUp() // there is no link
	o := generation.New(p.process(), p.fakeLink, p)
	o.Legacy = true
	from := inheritance{generation: 2, sockets: fds.New(), parent: &parent{Older: o}}
	return newFakeManager(t, from, nil, opts...), p
}

func TestLegacyParentIsSignalledWhenThisProcessServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pid")
		m, p := newLegacySuccessor(t, WithPIDFile(path))
		check, asked, gone := make(chan struct{}), false, Exit{}
		m.Append(Hook{
			OnReady:      func(context.Context) error { <-check; return nil },
			OnParentKill: func(_ context.Context, p Process) error { asked = isOpen(m) && p.PID == 12; return nil },
			OnParentExit: func(_ context.Context, e Exit) error { gone = e; return nil },
		})
		result := ready(t.Context(), m)
		if isOpen(m) || len(p.signals) > 0 || m.Status().State != StateStarting || m.role() != graceevent.RoleSuccessor {
			t.Error("it serves, or has signalled its parent, before it is ready")
		}
		close(check)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if !asked || !isOpen(m) || len(p.signals) != 1 || <-p.signals != syscall.SIGTERM {
			t.Errorf("gate open: %v, asked when it was: %v", isOpen(m), asked)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		if parent, ok := m.Parent(); !ok || parent != (Process{PID: 12, Generation: 1}) {
			t.Errorf("its parent is %v, %v", parent, ok)
		}
		close(p.gone)
		synctest.Wait()
		if gone.PID != 12 || !gone.Legacy || gone.Signal != syscall.SIGTERM {
			t.Errorf("OnParentExit was told %+v", gone)
		}
		shutDown(t, m)
	})
}

// It is granted this process's own drain timeout: nobody knows that of the parent.
func TestLegacyParentThatStaysIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newLegacySuccessor(t, WithDrainTimeout(time.Minute))
		began := time.Now()
		if err := <-ready(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		due := time.Minute + generation.OverdueGrace
		for _, want := range []struct {
			sig   syscall.Signal
			after time.Duration
		}{{syscall.SIGTERM, 0}, {syscall.SIGTERM, due}, {syscall.SIGKILL, due + generation.TermTimeout}} {
			if sig := <-p.signals; sig != want.sig || time.Since(began) != want.after {
				t.Errorf("%v after %v, and not %v after %v", sig, time.Since(began), want.sig, want.after)
			}
		}
		close(p.gone)
		shutDown(t, m)
	})
}

func TestLegacyParentIsNotSignalled(t *testing.T) {
	veto := errors.New("let it live")
	for name, c := range map[string]struct {
		hook  Hook
		dead  bool
		fails bool
		warns string
	}{
		"the hooks object":  {hook: Hook{OnParentKill: func(context.Context, Process) error { return veto }}, warns: veto.Error()},
		"it is dead":        {hook: Hook{OnParentKill: func(context.Context, Process) error { panic("asked for nothing") }}, dead: true},
		"Ready has failed":  {hook: Hook{OnReady: func(context.Context) error { return errWhy }}, fails: true},
		"Ready has timeout": {hook: Hook{OnReady: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var warnings []string
				exits := 0
				m, p := newLegacySuccessor(t, WithObserver(graceevent.ObserverFunc(func(_ context.Context, r graceevent.Record) {
					switch e := r.Event.(type) {
					case graceevent.AncestorStays:
						warnings = append(warnings, e.Err.Error())
					case graceevent.ParentExited:
						exits++
					}
				})))
				m.Append(c.hook)
				if c.dead {
					close(p.gone)
				}
				if err := <-ready(t.Context(), m); (err != nil) != c.fails || isOpen(m) == c.fails {
					t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
				}
				time.Sleep(24 * time.Hour)
				if len(p.signals) > 0 {
					t.Errorf("it was sent %v", <-p.signals)
				}
				if got := strings.Join(warnings, "\n"); !strings.Contains(got, c.warns) || (got == "") != (c.warns == "") || len(warnings) > 1 {
					t.Errorf("warned of %q", got)
				}
				if (exits == 1) != c.dead {
					t.Errorf("%d exits of the parent", exits)
				}
				shutDown(t, m)
			})
		})
	}
}

// silent is a successor that hears Hello, or not, and says nothing.
func silent(*fakeSuccessor) {}

func TestLegacySuccessorThatServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pid")
		var skipped []graceevent.ProbationSkipped
		r := newRig(t, WithPIDFile(path), WithProbation(time.Minute), WithObserver(graceevent.ObserverFunc(func(_ context.Context, rec graceevent.Record) {
			if e, ok := rec.Event.(graceevent.ProbationSkipped); ok {
				skipped = append(skipped, e)
			}
		})))
		r.script = silent
		hungUp := false
		r.Append(Hook{OnDrain: func(context.Context) error { hungUp = wait.IsClosed(r.successors[0].closed); return nil }})
		upgrade := make(chan error, 1)
		go func() { upgrade <- r.Upgrade(t.Context()) }()
		synctest.Wait()
		if !r.upgrade.Load().recognize() {
			t.Error("it came too late")
		}
		if err := <-upgrade; err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if r.successors[0].killed {
			t.Error("the successor was killed")
		}
		if !hungUp {
			t.Error("the link was open during the drain: it would pass for one that is in use")
		}
		if got, want := r.takeCalls(), "upgrade:a upgrade:b drain:a drain:b"; got != want {
			t.Errorf("hooks ran as %q and not %q", got, want)
		}
		if got, err := os.ReadFile(path); string(got) != "4711\n" {
			t.Errorf("the PID file says %q, %v", got, err)
		}
		if len(skipped) != 1 || skipped[0].PID != 4711 {
			t.Errorf("events: %v", skipped)
		}
		r.finish(t)
	})
}

// A word that comes when the upgrade has failed changes nothing.
func TestLegacySuccessorThatIsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.script = silent
		upgrade := make(chan error, 1)
		go func() { upgrade <- r.Upgrade(t.Context()) }()
		synctest.Wait()
		u := r.upgrade.Load()
		if err := <-upgrade; !errors.Is(err, ErrTimeout) || u.recognize() {
			t.Errorf("Upgrade returned %v", err)
		}
		if r.Status().State != StateServing || !r.successors[0].killed {
			t.Error("the failed upgrade has left something")
		}
		r.finish(t)
	})
}

// Only while an upgrade waits for a successor that has said nothing, SIGTERM can be something else than an end.
func TestReadySignalOutsideOfAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var answers []bool
		ask := func() { answers = append(answers, r.isReadySignal(syscall.SIGTERM)) }
		ask()
		r.Append(Hook{OnUpgrade: func(context.Context) error { ask(); return nil }})
		r.script = func(f *fakeSuccessor) {
			f.hear()
			f.say(&handoff.Ready{})
			f.hear()
			ask()
			f.say(&handoff.Serving{})
		}
		if err := r.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ask()
		if slices.Contains(answers, true) || len(answers) != 4 {
			t.Errorf("answers: %v", answers)
		}
		r.finish(t)
	})
}

func TestLegacyAncestorIsDescribed(t *testing.T) {
	links := []olderLink{{about: handoff.ExtraFile{Use: handoff.UseLink, PID: 12, Legacy: true}}}
	x := &inheritedExtras{links: links}
	if all := x.older(time.Minute); !all[0].Legacy {
		t.Error("it is taken for one that reports")
	}
	p := newFakeParent()
	o := generation.New(p.process(), p.fakeLink, p)
	o.Legacy = true
	set := generation.NewSet(t.Context(), generation.Owner{})
	set.Add(o)
	if got := set.Extras(); len(got) > 0 {
		t.Errorf("passed on without a descriptor by which its end could be seen: %v", got)
	}
}
