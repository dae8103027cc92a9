package grace

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

// fakeParent is the old process, as a Manager in the new one sees it.
type fakeParent struct {
	*fakeLink
	gone    chan struct{}
	signals chan syscall.Signal
}

func newFakeParent() *fakeParent {
	return &fakeParent{fakeLink: newFakeLink(), gone: make(chan struct{}), signals: make(chan syscall.Signal, 16)}
}

func (p *fakeParent) process() Process { return Process{PID: 12, Generation: 1} }

func (p *fakeParent) Gone() <-chan struct{}        { return p.gone }
func (p *fakeParent) State(context.Context) string { return "exit status 7" }
func (p *fakeParent) Close()                       {}

func (p *fakeParent) Signal(sig syscall.Signal) error {
	p.signals <- sig
	return nil
}

// die is the end of the process.
func (p *fakeParent) die() {
	p.hangUp()
	close(p.gone)
}

// newSuccessor returns a Manager of generation 2.
func newSuccessor(t *testing.T, opts ...Option) (*Manager, *fakeParent) {
	t.Helper()
	p := newFakeParent()
	hello := &handoff.Hello{PID: 12, Generation: 2, Timeout: time.Minute, Drain: 30 * time.Second}
	from := inheritance{generation: 2, handoff: "h", sockets: fds.New(), parent: newParent(p.fakeLink, hello, p)}
	return newFakeManager(t, from, nil, opts...), p
}

// ready calls Ready, and returns its result.
func ready(ctx context.Context, m *Manager) <-chan error {
	result := make(chan error, 1)
	go func() { result <- m.Ready(ctx) }()
	synctest.Wait()
	return result
}

func isOpen(m *Manager) bool { return m.gate.IsOpen() }

func TestSuccessorServesWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		var exit Exit
		m.Append(Hook{OnParentExit: func(_ context.Context, e Exit) error { exit = e; return nil }})
		result := ready(t.Context(), m)
		if got := handoff.Name(<-p.out); got != "Ready" {
			t.Fatalf("it said %s", got)
		}
		if isOpen(m) || m.Status().State != StateStarting {
			t.Error("it serves before it is told to")
		}
		p.in <- &handoff.Commit{}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if got := handoff.Name(<-p.out); got != "Serving" || !isOpen(m) {
			t.Errorf("it said %s, and its gate is open: %v", got, isOpen(m))
		}
		if parent, ok := m.Parent(); !ok || parent != (Process{PID: 12, Generation: 1}) {
			t.Errorf("its parent is %v, %v", parent, ok)
		}
		p.in <- &handoff.Drained{Duration: time.Second, Error: "something stuck"}
		p.hangUp()
		synctest.Wait()
		if exit.PID != 0 {
			t.Error("OnParentExit ran while the parent was there")
		}
		close(p.gone)
		synctest.Wait()
		if exit.PID != 12 || !exit.Drained || exit.Drain != time.Second || exit.Err == nil || exit.Err.Error() != "something stuck" {
			t.Errorf("OnParentExit was told %+v", exit)
		}
		if _, ok := m.Parent(); ok {
			t.Error("the parent is still there")
		}
		shutDown(t, m)
	})
}

func shutDown(t *testing.T, m *Manager) {
	t.Helper()
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSuccessorThatIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		p.in <- &handoff.Abort{Reason: "too late"}
		err := <-ready(t.Context(), m)
		if !errors.Is(err, ErrAborted) || !strings.Contains(err.Error(), "too late") || isOpen(m) {
			t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
		}
		shutDown(t, m)
	})
}

// The end of the link alone does not make a successor serve: the old process may have closed it to give the handoff up.
func TestSuccessorTakesOverFromADeadParentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		p.hangUp()
		result := ready(t.Context(), m)
		time.Sleep(time.Hour)
		if isOpen(m) {
			t.Error("it serves beside its parent")
		}
		close(p.gone)
		if err := <-result; err != nil || !isOpen(m) {
			t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
		}
		shutDown(t, m)
	})
}

func TestSuccessorThatFailsSaysWhy(t *testing.T) {
	for name, act := range map[string]func(*Manager, context.CancelCauseFunc){
		"hook": func(m *Manager, _ context.CancelCauseFunc) {
			m.Append(Hook{OnReady: func(context.Context) error { return errWhy }})
		},
		"context":  func(_ *Manager, cancel context.CancelCauseFunc) { cancel(errWhy) },
		"shutdown": func(m *Manager, _ context.CancelCauseFunc) { _ = m.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := newSuccessor(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				act(m, cancel)
				if err := <-ready(ctx, m); err == nil {
					t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
				}
				for {
					if f, ok := (<-p.out).(*handoff.Failed); ok {
						if !strings.Contains(f.Reason, errWhy.Error()) && !strings.Contains(f.Reason, ErrShutdown.Error()) {
							t.Errorf("it said %q", f.Reason)
						}
						break
					}
				}
				shutDown(t, m)
			})
		})
	}
}

var errWhy = errors.New("that is why")

func TestSuccessorRefusesNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newSuccessor(t)
		p.in <- &handoff.Serving{}
		if err := <-ready(t.Context(), m); !errors.Is(err, ErrProtocol) || isOpen(m) {
			t.Errorf("Ready returned %v, gate open: %v", err, isOpen(m))
		}
		shutDown(t, m)
	})
}
