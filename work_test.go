package grace

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
)

// failing returns a function of Go that fails when it is told to.
func failing() (f func() error, fail func()) {
	told := make(chan struct{})
	return func() error { <-told; return errWhy }, func() { close(told); synctest.Wait() }
}

// A part that fails ends a service that serves alone, and everybody who waits learns why.
func TestGoThatFailsEndsTheService(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			f, fail := failing()
			if early {
				fail()
			}
			r.Go(f)
			result := make(chan error, 1)
			go func() { result <- r.Run(t.Context()) }()
			synctest.Wait()
			if !early {
				fail()
			}
			if err := <-result; !errors.Is(err, errWhy) {
				t.Errorf("Run returned %v", err)
			}
			if err := r.Wait(t.Context()); !errors.Is(err, errWhy) || strings.Count(err.Error(), errWhy.Error()) != 1 {
				t.Errorf("Wait returned %v", err)
			}
			if got := r.takeCalls(); got != "drain:a drain:b" || !errors.Is(r.Cause(), ErrShutdown) {
				t.Errorf("hooks ran as %q, the cause is %v", got, r.Cause())
			}
		})
	}
}

// In a successor it fails the handoff, with its reason, and the old process keeps serving.
func TestGoThatFailsInASuccessor(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*Manager, *fakeParent)
		drains bool
	}{
		"before Ready": {before: func(*Manager, *fakeParent) {}},
		"during Ready": {before: func(m *Manager, _ *fakeParent) { ready(context.Background(), m) }},
		"on probation": {before: func(m *Manager, p *fakeParent) {
			ready(context.Background(), m)
			p.in <- &handoff.Accept{Probation: time.Minute}
			synctest.Wait()
		}, drains: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := newSuccessor(t)
				c.before(m, p)
				f, fail := failing()
				m.Go(f)
				fail()
				checkFailed(t, m, p, c.drains)
				shutDown(t, m)
			})
		})
	}
}

// The old process learns the reason also of a successor that fails, and ends, just after it has said that it is ready.
func TestSuccessorThatFailsAfterReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.script = func(f *fakeSuccessor) {
			f.hear()
			f.say(&handoff.Ready{})
			f.say(&handoff.Failed{Reason: "no network"})
			f.hangUp()
		}
		checkUpgradeError(t, r.Upgrade(t.Context()), StepCommit, nil, "no network")
		r.finish(t)
	})
}

// Several parts that fail at once, in a process that is ended at the same time, tell the old process one reason.
func TestGoThatFailsTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		for range 3 {
			m.Go(func() error { return errWhy })
		}
		if err := m.Run(t.Context()); !errors.Is(err, errWhy) {
			t.Errorf("Run returned %v", err)
		}
		synctest.Wait()
		var reasons []string
		for len(p.out) > 0 {
			if failed, ok := (<-p.out).(*handoff.Failed); ok {
				reasons = append(reasons, failed.Reason)
			}
		}
		if len(reasons) != 1 || reasons[0] != errWhy.Error() {
			t.Errorf("the old process was told %q", reasons)
		}
	})
}

// While a successor starts, the old process goes on: if the successor comes up, there is a service.
func TestGoThatFailsDuringAnUpgrade(t *testing.T) {
	for _, succeeds := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			f, fail := failing()
			r.Go(f)
			r.script = func(s *fakeSuccessor) {
				s.hear()
				time.Sleep(time.Second)
				if !succeeds {
					s.hangUp()
					return
				}
				s.say(&handoff.Ready{})
				s.hear()
				s.say(&handoff.Serving{})
			}
			time.AfterFunc(time.Millisecond, fail)
			err := r.Upgrade(t.Context())
			if (err == nil) != succeeds || r.successors[0].killed == succeeds {
				t.Errorf("Upgrade returned %v, the successor was killed: %v", err, r.successors[0].killed)
			}
			if err := r.Wait(t.Context()); !errors.Is(err, errWhy) {
				t.Errorf("Wait returned %v", err)
			}
			if want := map[bool]error{false: ErrShutdown, true: ErrUpgraded}[succeeds]; !errors.Is(r.Cause(), want) {
				t.Errorf("the cause is %v", r.Cause())
			}
			for _, s := range r.successors {
				s.die()
			}
		})
	}
}

// The drain waits for the functions of Go, up to a moment after its deadline.
func TestDrainWaitsForGo(t *testing.T) {
	for length, c := range map[time.Duration]struct {
		after time.Duration
		says  string
	}{
		time.Second: {after: time.Second, says: errWhy.Error()},
		time.Hour:   {after: DefaultDrainTimeout + hookGrace, says: "1 functions of Manager.Go have not returned"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.Go(func() error { <-r.Done(); time.Sleep(length); return errWhy })
			r.Go(func() error { return nil })
			synctest.Wait()
			if r.Cause() != nil {
				t.Errorf("the cause is %v, before the end", r.Cause())
			}
			began := time.Now()
			err := r.Shutdown(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.says) || time.Since(began) != c.after {
				t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
			}
			time.Sleep(length)
		})
	}
}

// errMux is what a multiplexer of listeners returns, which matches nothing.
var errMux = errors.New("mux: server closed")

// The drain closes listeners: what their servers return then is not a failure. What a part returns
// for another reason is one, and so is the same error while the process serves.
func TestClosedListenersAreNoFailureInTheDrain(t *testing.T) {
	for _, c := range []struct {
		err  error
		fine bool
	}{
		{net.ErrClosed, true},
		{&net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}, true},
		{http.ErrServerClosed, true},
		{errMux, true},
		{errWhy, false},
		{errors.Join(errMux, errWhy), false},
		{&net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}, false},
	} {
		for name, begin := range map[string]func(*rig){
			"part": func(r *rig) { r.Go(func() error { <-r.Done(); return c.err }) },
			"hook": func(r *rig) {
				r.Append(Hook{OnDrain: func(context.Context) error { return c.err }})
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				r := newRig(t, WithObserver(rec))
				begin(r)
				err := r.Shutdown(t.Context())
				if (err == nil) != c.fine || err != nil && !errors.Is(err, c.err) {
					t.Errorf("%s returned %v, and Shutdown %v", name, c.err, err)
				}
				failed := len(find[graceevent.PartFailed](rec))
				for _, e := range find[graceevent.HookFinished](rec) {
					if e.Err != nil {
						failed++
					}
				}
				if (failed == 0) != c.fine {
					t.Errorf("%s returned %v: %d events of a failure", name, c.err, failed)
				}
			})
		}
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, WithStopDelay(time.Second))
			stopped := make(chan error, 1)
			go func() { stopped <- r.Shutdown(t.Context()) }() // ends with the drain
			<-r.Stopping()
			r.Go(func() error { return c.err })
			if err := <-stopped; !errors.Is(err, c.err) {
				t.Errorf("before the drain a part returned %v, and Shutdown %v", c.err, err)
			}
		})
	}
}
