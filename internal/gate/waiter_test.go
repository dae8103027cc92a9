//go:build unix

package gate

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSocket is a socket from which nothing comes; after its deadline, a call needs a while to
// return.
type fakeSocket struct {
	leave       time.Duration
	interrupted chan struct{}
	once        sync.Once
	armed       time.Time
}

func newFake(g *Gate, leave time.Duration) (*fakeSocket, *waiter) {
	f := &fakeSocket{leave: leave, interrupted: make(chan struct{})}
	return f, newWaiter(g, &net.TCPAddr{}, f.arm)
}

func (f *fakeSocket) arm(t time.Time) error {
	f.armed = t
	if !t.IsZero() {
		time.AfterFunc(max(time.Until(t), 0)+f.leave, f.interrupt)
	}
	return nil
}

func (f *fakeSocket) interrupt() { f.once.Do(func() { close(f.interrupted) }) }

func (f *fakeSocket) take() error {
	<-f.interrupted
	return os.ErrDeadlineExceeded
}

// start runs a call of a fake socket in a bubble and returns when it blocks.
func (f *fakeSocket) start(w *waiter) <-chan error {
	result := make(chan error, 1)
	go func() { result <- w.call(opRead, f.take) }()
	synctest.Wait()
	return result
}

func newOpen() *Gate {
	g := New()
	g.Open()
	return g
}

// sets are deadlines that the user sets, one a second after the other; 0 clears the deadline.
type sets []time.Duration

func (all sets) apply(w *waiter) {
	for i, d := range all {
		if i > 0 {
			time.Sleep(time.Second)
		}
		at := time.Now().Add(d)
		if d == 0 {
			at = time.Time{}
		}
		_ = w.setDeadline(at) // the fake has no errors
	}
}

func TestDeadlineOfAWait(t *testing.T) {
	const soon, late = 5 * time.Second, time.Hour
	for name, c := range map[string]struct {
		before, after sets // Shut comes after 1 s, and those after it begin 1 s later
		ends          time.Duration
	}{
		"set before":       {sets{soon}, nil, soon},
		"passed before":    {sets{-soon}, nil, 0},
		"set after":        {nil, sets{soon}, 2*time.Second + soon},
		"past, set after":  {nil, sets{-soon}, 2 * time.Second},
		"moved here":       {sets{late}, sets{soon}, 2*time.Second + soon},
		"moved away":       {sets{soon}, sets{late}, 2*time.Second + late},
		"cleared, and set": {sets{soon}, sets{0, late}, 3*time.Second + late},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if took := timeCall(t, c.before, c.after); took != c.ends {
					t.Errorf("the call took %v and not %v", took, c.ends)
				}
			})
		})
	}
}

// timeCall measures a call that ends by its deadline, across Shut.
func timeCall(t *testing.T, before, after sets) time.Duration {
	t.Helper()
	g := newOpen()
	f, w := newFake(g, 0)
	began := time.Now()
	before.apply(w)
	ended := make(chan time.Duration, 1)
	go func() {
		if err := w.call(opRead, f.take); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the call returned %v", err)
		}
		ended <- time.Since(began)
	}()
	time.Sleep(time.Second)
	must(t, g.Shut(t.Context()))
	time.Sleep(time.Second)
	after.apply(w)
	if f.armed.IsZero() || f.armed.After(time.Now()) { // a read would wait in the system
		t.Errorf("the socket is armed for %v", f.armed)
	}
	return <-ended
}

func TestDeadlineBeforeTheGateOpensCanBeMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := newFake(New(), 0)
		must(t, w.setDeadline(time.Now().Add(time.Second)))
		began := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { sets{time.Hour}.apply(w) })
		if err := <-f.start(w); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the wait ended with %v", err)
		}
		if took := time.Since(began); took != time.Hour+500*time.Millisecond {
			t.Errorf("the wait took %v", took)
		}
	})
}

// While the gate is open, deadlines are the socket's business.
func TestDeadlineAtAnOpenGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newOpen()
		f, w := newFake(g, 0)
		at := time.Now().Add(time.Minute)
		must(t, w.setDeadline(at))
		if err := <-f.start(w); err != os.ErrDeadlineExceeded || time.Since(at) != 0 {
			t.Errorf("the call ended with %v, %v after its deadline", err, time.Since(at))
		}
		if !f.armed.Equal(at) {
			t.Errorf("the socket is armed for %v", f.armed)
		}
	})
}

func TestShutInterruptsAllBeforeItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const leave = time.Second
		g := newOpen()
		var calls sync.WaitGroup
		for range 10_000 {
			f, w := newFake(g, leave)
			calls.Go(func() {
				if err := w.call(opAccept, f.take); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a call returned %v", err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		must(t, g.Shut(t.Context()))
		if took := time.Since(began); took != leave {
			t.Errorf("Shut took %v for sockets of which each takes %v", took, leave)
		}
		g.Release()
		calls.Wait()
	})
}

func TestShutWaitsWhoeverCallsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newOpen()
		f, w := newFake(g, time.Second)
		result := f.start(w)
		began := time.Now()
		var shutting sync.WaitGroup
		for range 2 {
			shutting.Go(func() {
				err := g.Shut(t.Context())
				if took := time.Since(began); err != nil || took != time.Second {
					t.Errorf("Shut took %v: %v", took, err)
				}
			})
		}
		shutting.Wait()
		g.Release()
		<-result
	})
}
