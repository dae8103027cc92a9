package grace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/wait"
)

// OnDrain hooks do not wait for each other: each has the whole drain timeout.
func TestDrainHooksRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, WithDrainTimeout(10*time.Second))
		deadlines := make(chan time.Duration, 3)
		began := time.Now()
		for range 3 {
			r.Append(Hook{OnDrain: func(ctx context.Context) error {
				deadline, _ := ctx.Deadline()
				deadlines <- deadline.Sub(began)
				time.Sleep(8 * time.Second) // fake
				return nil
			}})
		}
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("the drain took %v", took)
		}
		for range 3 {
			if d := <-deadlines; d != 10*time.Second {
				t.Errorf("a hook had %v", d)
			}
		}
	})
}

// While the stop is delayed the service goes on, and says that it stops.
func TestStopDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		r := newRig(t, WithStopDelay(5*time.Second), WithDrainTimeout(20*time.Second), WithObserver(rec))
		var left time.Duration
		r.Append(Hook{OnDrain: func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return nil
		}})
		if wait.IsClosed(r.Stopping()) {
			t.Error("it stops before it is told to")
		}
		began := time.Now()
		stopped := make(chan error, 2)
		for range 2 { // the second one waits for the first
			go func() { stopped <- r.Shutdown(context.Background()) }()
		}
		synctest.Wait()
		if !wait.IsClosed(r.Stopping()) {
			t.Error("it does not say that it stops")
		}
		if s := r.Status().State; s != StateStopping || r.Cause() != nil || wait.IsClosed(r.Done()) {
			t.Errorf("state %s, cause %v", s, r.Cause())
		}
		if err := r.Upgrade(t.Context()); !errors.Is(err, ErrShutdown) {
			t.Errorf("Upgrade returned %v", err)
		}
		if r.role() != graceevent.RoleServing {
			t.Errorf("the role is %s", r.role())
		}
		<-r.Done()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("Done was closed after %v", took)
		}
		if err := errors.Join(<-stopped, <-stopped); err != nil || left != 15*time.Second {
			t.Errorf("Shutdown returned %v, the drain had %v", err, left)
		}
		if n := len(find[graceevent.StopDelayed](rec)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// A process that was replaced does not stop the service.
func TestStoppingAfterAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if err := r.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Shutdown(t.Context()); err != nil || wait.IsClosed(r.Stopping()) {
			t.Errorf("Shutdown returned %v, Stopping is closed: %v", err, wait.IsClosed(r.Stopping()))
		}
		r.finish(t)
	})
}

// A service that cannot go on does not use up its delay, but its drain has the time.
func TestFailureEndsTheStopDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, WithStopDelay(20*time.Second), WithDrainTimeout(30*time.Second))
		var left time.Duration
		r.Append(Hook{OnDrain: func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return nil
		}})
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- r.Shutdown(context.Background()) }()
		time.Sleep(time.Second) // fake
		r.Go(func() error { return errWhy })
		<-r.Done()
		if took := time.Since(began); took != time.Second {
			t.Errorf("it stopped after %v", took)
		}
		if err := <-stopped; !errors.Is(err, errWhy) || left != 29*time.Second {
			t.Errorf("Shutdown returned %v, the drain had %v", err, left)
		}
	})
}

// A service that is to stop says so while its upgrade is still being cancelled.
func TestStateOfAShutdownThatCancelsAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Append(Hook{OnUpgrade: func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(hookGrace / 2) // fake
			return context.Cause(ctx)
		}})
		upgraded := make(chan error, 1)
		go func() { upgraded <- r.Upgrade(t.Context()) }()
		synctest.Wait()
		go func() { _ = r.Shutdown(context.Background()) }()
		synctest.Wait()
		if s := r.Status().State; s != StateStopping {
			t.Errorf("state %s", s)
		}
		if err := <-upgraded; !errors.Is(err, ErrShutdown) {
			t.Errorf("Upgrade returned %v", err)
		}
		_ = r.Wait(t.Context())
	})
}

// Where there is nothing to find out for a load balancer, the stop is not delayed.
func TestStopIsNotDelayed(t *testing.T) {
	for name, stop := range map[string]func(*rig) error{
		"after an upgrade": func(r *rig) error { return r.Upgrade(context.Background()) },
		"when a part of the service has failed": func(r *rig) error {
			r.Go(func() error { return errWhy })
			<-r.Done()
			return nil
		},
		"when its context has ended": func(r *rig) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = r.Shutdown(ctx)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, WithStopDelay(5*time.Second))
				began := time.Now()
				if err := stop(r); err != nil {
					t.Error(err)
				}
				<-r.Done()
				if took := time.Since(began); took != 0 {
					t.Errorf("it stopped after %v", took)
				}
				for _, f := range r.successors {
					f.die()
				}
				_ = r.Wait(t.Context())
			})
		})
	}
}

func TestStopOfAProcessThatNeverServedIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newSuccessor(t, WithStopDelay(5*time.Second))
		began := time.Now()
		shutDown(t, m)
		if took := time.Since(began); took != 0 {
			t.Errorf("it stopped after %v", took)
		}
	})
}
