package grace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/graceevent"
)

// methods are those that wait for what calls functions of the application.
var methods = map[string]func(*Manager) error{
	"Shutdown": func(m *Manager) error { return m.Shutdown(context.Background()) },
	"Wait":     func(m *Manager) error { return m.Wait(context.Background()) },
	"Upgrade":  func(m *Manager) error { return m.Upgrade(context.Background()) },
	"Ready":    func(m *Manager) error { return m.Ready(context.Background()) },
	"Run":      func(m *Manager) error { return m.Run(context.Background()) },
	"Fail":     func(m *Manager) error { return m.Fail(errWhy) },
}

// called calls a method where f is called for the first time, and expects it to return at once.
func called(t *testing.T, name string) func(*Manager) error {
	var once sync.Once
	return func(m *Manager) error {
		once.Do(func() {
			began := time.Now()
			err := methods[name](m)
			if took := time.Since(began); took > 0 {
				t.Errorf("%s took %v and returned %v", name, took, err)
			}
			if s := m.Status().State; name == "Shutdown" && (s == StateServing || s == StateUpgrading) {
				t.Errorf("after Shutdown the state is %v", s)
			}
			switch name {
			case "Shutdown", "Wait", "Run":
				if !errors.Is(err, ErrCallback) {
					t.Errorf("%s returned %v", name, err)
				}
			case "Upgrade":
				if err == nil {
					t.Error("Upgrade has succeeded")
				}
			case "Fail":
				if !errors.Is(err, errWhy) {
					t.Errorf("Fail returned %v", err)
				}
			}
		})
		return nil
	}
}

// Functions of the application cannot wait for what waits for them, and need not know that: each
// method returns at once, and Shutdown and Fail do their work.
func TestMethodsInFunctionsOfTheApplication(t *testing.T) {
	for _, p := range append(places, silentPlaces...) {
		for name := range methods {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, _ := p.begin(t, called(t, name))
					if name == "Shutdown" {
						if err := m.Wait(t.Context()); err != nil || !errors.Is(m.Cause(), ErrShutdown) {
							t.Errorf("Wait returned %v, the cause is %v", err, m.Cause())
						}
					}
					began := time.Now()
					if err := m.Shutdown(t.Context()); err != nil || time.Since(began) > 0 {
						t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
					}
				})
			})
		}
	}
}

// The same in an observer, at every event of an upgrade with a probation.
func TestMethodsInAnObserver(t *testing.T) {
	for name := range methods {
		for at := 0; ; at++ {
			total := 0
			synctest.Test(t, func(t *testing.T) { total = callAtEvent(t, name, at) })
			if at >= total {
				break
			}
		}
	}
}

// callAtEvent calls a method at one of the events, and returns how many there were.
func callAtEvent(t *testing.T, name string, at int) (total int) {
	var m *Manager
	var mu sync.Mutex
	f := called(t, name)
	r := newRig(t, WithProbation(time.Second), WithObserver(graceevent.ObserverFunc(
		func(_ context.Context, rec graceevent.Record) {
			mu.Lock()
			n := total
			if m != nil {
				total++
			}
			mu.Unlock()
			if m != nil && n == at {
				_ = f(m)
			}
		})))
	mu.Lock()
	m = r.Manager
	mu.Unlock()
	r.script = accepting
	err := r.Upgrade(t.Context())
	for _, s := range r.successors {
		s.die()
	}
	began := time.Now()
	if end := r.Shutdown(t.Context()); end != nil || time.Since(began) > 0 {
		t.Errorf("%s at event %d: Upgrade returned %v, and Shutdown %v after %v", name, at, err, end, time.Since(began))
	}
	return total
}

// The drain waits for parts: they cannot wait for the drain. They can upgrade.
func TestMethodsInAPart(t *testing.T) {
	for name, method := range methods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				began := time.Now()
				result := make(chan error, 1)
				r.Go(func() error { result <- method(r.Manager); return nil })
				err := <-result
				waits := name == "Shutdown" || name == "Wait" || name == "Run"
				if errors.Is(err, ErrCallback) != waits || name == "Upgrade" && err != nil || time.Since(began) > 0 {
					t.Errorf("it returned %v after %v", err, time.Since(began))
				}
				if name == "Shutdown" {
					<-r.Done()
				}
				r.finish(t)
				if time.Since(began) > 0 {
					t.Errorf("the drain took %v", time.Since(began))
				}
			})
		})
	}
}

// A goroutine of a function may wait: it is not what others wait for.
func TestShutdownInAGoroutineOfAFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ended := make(chan error, 1)
		r.Append(Hook{OnUpgradeFailed: func(context.Context, error) error {
			go func() { ended <- r.Shutdown(context.Background()) }()
			return nil
		}})
		r.script = refusing
		if err := r.Upgrade(t.Context()); err == nil {
			t.Error("Upgrade has succeeded")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// While an upgrade waits for an observer, that cannot wait for the sockets.
func TestListenInAnObserver(t *testing.T) {
	var got []string
	var m *Manager
	r := newRig(t, WithObserver(graceevent.ObserverFunc(func(ctx context.Context, rec graceevent.Record) {
		switch rec.Event.(type) {
		case graceevent.UpgradeStarted, graceevent.SuccessorStarted:
			ln, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0")
			got = append(got, fmt.Sprint(err == nil, errors.Is(err, ErrCallback)))
			if err == nil {
				ln.Close()
			}
		}
	})))
	m = r.Manager
	if err := r.Upgrade(t.Context()); err != nil || strings.Join(got, ", ") != "true false, false true" {
		t.Errorf("Upgrade returned %v; Listen %v", err, got)
	}
	r.finish(t)
}
