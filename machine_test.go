package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

func TestUpgradeInItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if err := r.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-r.Done():
		default:
			t.Error("Done is open after an upgrade")
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		f := r.successors[0]
		f.hear()
		if want := []string{"Hello", "Commit", "Drained"}; !slices.Equal(f.got, want) {
			t.Errorf("the successor heard %v and not %v", f.got, want)
		}
		if got, want := r.takeCalls(), "upgrade:a upgrade:b drain:a drain:b"; got != want {
			t.Errorf("hooks ran as %q and not %q", got, want)
		}
		if got := r.Status().State; got != StateDone {
			t.Errorf("state %v", got)
		}
		for name, err := range map[string]error{"Upgrade": r.Upgrade(t.Context()), "Ready": r.Ready(t.Context())} {
			if !errors.Is(err, ErrUpgraded) {
				t.Errorf("%s after an upgrade: %v", name, err)
			}
		}
		if _, err := r.Listen(t.Context(), "tcp", "127.0.0.1:0"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Listen after an upgrade: %v", err)
		}
		r.finish(t)
	})
}

// Whatever goes wrong, the caller learns it, the hooks are undone, the successor is gone, and the next upgrade works.
func TestUpgradeThatFails(t *testing.T) {
	cancelled := errors.New("cancelled")
	for name, c := range map[string]struct {
		script func(*fakeSuccessor)
		cancel time.Duration // of the caller; 0 is never
		after  time.Duration // when Upgrade returns
		step   Step
		is     error
		says   string
	}{
		"silence":                {script: func(f *fakeSuccessor) { f.hear() }, after: DefaultUpgradeTimeout, step: StepReady, is: ErrTimeout},
		"end of file":            {script: func(f *fakeSuccessor) { f.hear(); f.hangUp() }, step: StepReady, is: io.EOF},
		"it says why":            {script: func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Failed{Reason: "no disk"}) }, step: StepReady, says: "no disk"},
		"nonsense":               {script: func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Serving{}) }, step: StepReady, is: ErrProtocol},
		"the caller cancels":     {script: func(f *fakeSuccessor) { f.hear() }, cancel: time.Second, after: time.Second, step: StepReady, is: cancelled},
		"stopped after Ready":    {script: func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Ready{}); f.hear() }, after: commitTimeout, step: StepCommit, is: ErrTimeout},
		"cancelled after Commit": {script: func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Ready{}); f.hear() }, cancel: time.Second, after: commitTimeout, step: StepCommit, is: ErrTimeout},
		"dies between the two":   {script: func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Ready{}); f.hear(); f.hangUp() }, step: StepCommit, is: io.EOF},
		"cannot serve in the end": {script: func(f *fakeSuccessor) {
			f.hear()
			f.say(&handoff.Ready{})
			f.hear()
			f.say(&handoff.Failed{Reason: "PID file"})
		}, step: StepCommit, says: "PID file"},
		"Ready twice, not Serving": {script: func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Ready{}); f.say(&handoff.Ready{}) }, step: StepCommit, is: ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.script = c.script
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, func() { cancel(cancelled) })
				}
				began := time.Now()
				err := r.Upgrade(ctx)
				if took := time.Since(began); took != c.after {
					t.Errorf("Upgrade returned after %v and not %v", took, c.after)
				}
				checkUpgradeError(t, err, c.step, c.is, c.says)
				if !r.successors[0].killed {
					t.Error("the successor was left alive")
				}
				if got, want := r.takeCalls(), "upgrade:a upgrade:b failed:b failed:a"; got != want {
					t.Errorf("hooks ran as %q and not %q", got, want)
				}
				r.script = upright
				if err := r.Upgrade(t.Context()); err != nil {
					t.Errorf("the next upgrade: %v", err)
				}
				r.finish(t)
			})
		})
	}
}

func checkUpgradeError(t *testing.T, err error, step Step, is error, says string) {
	t.Helper()
	var up *UpgradeError
	if !errors.As(err, &up) {
		t.Fatalf("%v is no UpgradeError", err)
	}
	if up.Step != step || up.PID != 4711 || up.State != "exit status 7" {
		t.Errorf("wrong in %+v", up)
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("%v does not match %v", err, is)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%v does not say %q", err, says)
	}
}

func TestSuccessorThatCannotBeKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.immortal = true
		r.script = func(f *fakeSuccessor) { f.hear(); f.say(&handoff.Failed{Reason: "no"}); f.hear() }
		err := r.Upgrade(t.Context())
		synctest.Wait()
		if err == nil || !strings.Contains(err.Error(), "has not ended 5s after it was killed") {
			t.Errorf("Upgrade returned %v", err)
		}
		if got := r.successors[0].got; !slices.Contains(got, "Abort") {
			t.Errorf("it was not told to give up: %v", got)
		}
		if r.Status().State != StateServing {
			t.Error("the old process does not serve")
		}
		r.finish(t)
	})
}

func TestHookThatRefusesTheUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		refusal := errors.New("a backup is running")
		r.Append(Hook{Name: "c", OnUpgrade: func(context.Context) error { return refusal }, OnUpgradeFailed: func(context.Context, error) error {
			r.called("failed:c")
			return nil
		}})
		r.appendHooks("d")
		err := r.Upgrade(t.Context())
		var up *UpgradeError
		if !errors.Is(err, refusal) || !errors.As(err, &up) || up.Step != StepHooks || !strings.Contains(err.Error(), `"c"`) {
			t.Errorf("Upgrade returned %v", err)
		}
		if len(r.successors) > 0 {
			t.Error("a successor was started")
		}
		if got, want := r.takeCalls(), "upgrade:a upgrade:b failed:b failed:a"; got != want {
			t.Errorf("hooks ran as %q and not %q", got, want)
		}
		r.finish(t)
	})
}

func TestShutdownCancelsAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.script = func(f *fakeSuccessor) { f.hear() }
		upgrade := make(chan error, 1)
		go func() { upgrade <- r.Upgrade(t.Context()) }()
		synctest.Wait()
		if err := r.Upgrade(t.Context()); !errors.Is(err, ErrUpgradeInProgress) {
			t.Errorf("second upgrade: %v", err)
		}
		if err := r.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-upgrade; !errors.Is(err, ErrShutdown) {
			t.Errorf("Upgrade: %v", err)
		}
		if got, want := r.takeCalls(), "upgrade:a upgrade:b failed:b failed:a drain:a drain:b"; got != want {
			t.Errorf("hooks ran as %q and not %q", got, want)
		}
		if err := r.Upgrade(t.Context()); !errors.Is(err, ErrShutdown) {
			t.Errorf("Upgrade after Shutdown: %v", err)
		}
		r.finish(t)
	})
}

// A hook that hangs cannot hold the process, nor keep the others from running.
func TestDrainEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, WithDrainTimeout(10*time.Second))
		release := make(chan struct{})
		r.Append(Hook{Name: "stuck", OnDrain: func(context.Context) error { <-release; return nil }})
		broken := errors.New("broken")
		r.Append(Hook{Name: "broken", OnDrain: func(context.Context) error { return broken }})
		began := time.Now()
		err := r.Shutdown(t.Context())
		if took := time.Since(began); took != 10*time.Second+hookGrace {
			t.Errorf("Shutdown returned after %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, broken) || !strings.Contains(err.Error(), `"stuck"`) {
			t.Errorf("Shutdown returned %v", err)
		}
		if got, want := r.takeCalls(), "drain:a drain:b"; got != want {
			t.Errorf("hooks ran as %q and not %q", got, want)
		}
		if werr := r.Wait(t.Context()); werr == nil || werr.Error() != err.Error() {
			t.Errorf("Wait returned %v, and Shutdown %v", werr, err)
		}
		close(release)
	})
}

func TestShutdownIsHastenedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Append(Hook{OnDrain: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }})
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, enough)
		defer cancel()
		began := time.Now()
		if err := r.Shutdown(ctx); !errors.Is(err, enough) {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("Shutdown returned after %v", took)
		}
	})
}

func TestUpgradeBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeManager(t, inheritance{generation: 1, sockets: fds.New()}, nil)
		if err := m.Upgrade(t.Context()); !errors.Is(err, ErrNotReady) {
			t.Errorf("Upgrade: %v", err)
		}
		if err := m.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := m.Ready(t.Context()); !errors.Is(err, ErrShutdown) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Ready after Shutdown: %v", err)
		}
	})
}

func TestReadyCanBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeManager(t, inheritance{generation: 1, sockets: fds.New()}, nil)
		tries := 0
		m.Append(Hook{OnReady: func(context.Context) error {
			if tries++; tries == 1 {
				return errors.New("not yet")
			}
			return nil
		}})
		if err := m.Ready(t.Context()); err == nil {
			t.Error("Ready has not failed")
		}
		for range 2 {
			if err := m.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if tries != 2 {
			t.Errorf("OnReady ran %d times", tries)
		}
		if err := m.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
