package grace

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/signals"
	"github.com/go-grace/grace/internal/wiring"
)

// fakeLink is a link of channels: it works in the time of a synctest bubble, which a socket does not.
type fakeLink struct {
	in     chan handoff.Message // to the process under test
	out    chan handoff.Message // from it
	eof    chan struct{}        // closed when the other side is gone
	once   sync.Once
	closed chan struct{}
}

func newFakeLink() *fakeLink {
	return &fakeLink{in: make(chan handoff.Message, 16), out: make(chan handoff.Message, 16), eof: make(chan struct{}), closed: make(chan struct{})}
}

func (l *fakeLink) Send(ctx context.Context, m handoff.Message) error {
	select {
	case <-l.eof:
		return io.ErrClosedPipe
	case <-l.closed:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	l.out <- m
	return nil
}

func (l *fakeLink) Queue(m handoff.Message) error { return l.Send(context.Background(), m) }

func (l *fakeLink) Flush(context.Context) error { return nil }

func (l *fakeLink) Receive(ctx context.Context) (handoff.Message, error) {
	select {
	case m := <-l.in:
		return m, nil
	case <-l.eof:
	case <-ctx.Done():
	}
	select {
	case m := <-l.in: // what was sent comes before the end, as a socket has it
		return m, nil
	default:
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, io.EOF
}

func (l *fakeLink) StopWaiting() {}

func (l *fakeLink) Heard() string { return "" }

func (l *fakeLink) IsRead() bool { return len(l.out) == 0 }

// Unread puts a message at the end of those that have come: there is never another after a last word.
func (l *fakeLink) Unread(m handoff.Message) error {
	l.in <- m
	return nil
}

func (l *fakeLink) Prepend(string) {}

func (l *fakeLink) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

func (l *fakeLink) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// hangUp is the end of the other process.
func (l *fakeLink) hangUp() { close(l.eof) }

// fakeChild is a process that dies when it is killed, unless it is immortal.
type fakeChild struct {
	exited   chan struct{}
	immortal bool
	killed   bool
	once     sync.Once

	terminated bool
}

func (c *fakeChild) PID() int                { return 4711 }
func (c *fakeChild) Exited() <-chan struct{} { return c.exited }
func (c *fakeChild) State() string           { return "exit status 7" }

func (c *fakeChild) Terminate() error {
	c.terminated = true
	return nil
}

func (c *fakeChild) Kill() error {
	c.killed = true
	if !c.immortal {
		c.die()
	}
	return nil
}

func (c *fakeChild) die() { c.once.Do(func() { close(c.exited) }) }

// fakeSuccessor runs as a successor would; the script says how.
type fakeSuccessor struct {
	*fakeLink
	*fakeChild
	got []string // what the old process has said
}

func (f *fakeSuccessor) Close() error { return f.fakeLink.Close() }

// say sends a message to the old process.
func (f *fakeSuccessor) say(m handoff.Message) { f.in <- m }

// hear receives a message from the old process, or "end" if there will be none.
func (f *fakeSuccessor) hear() string {
	select {
	case m := <-f.out:
		f.got = append(f.got, handoff.Name(m))
	case <-f.exited:
		f.got = append(f.got, "end")
	}
	return f.got[len(f.got)-1]
}

// upright does what a successor should.
func upright(f *fakeSuccessor) {
	f.hear()
	f.say(&handoff.Ready{})
	if f.hear() == "Commit" {
		f.say(&handoff.Serving{})
	}
}

// rig is a serving Manager with fake successors, and what its hooks have seen.
type rig struct {
	*Manager
	script     func(*fakeSuccessor)
	immortal   bool
	successors []*fakeSuccessor
	mu         sync.Mutex
	calls      []string
}

func newRig(t *testing.T, opts ...Option) *rig {
	t.Helper()
	r := &rig{script: upright}
	r.Manager = newFakeManager(t, inheritance{generation: 1, sockets: fds.New()}, r.launch, opts...)
	r.appendHooks("a")
	r.appendHooks("b")
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.takeCalls()
	return r
}

// launcher is wiring.Wiring's Launch.
type launcher func(context.Context, wiring.Launch) (wiring.Child, wiring.Link, error)

func newFakeManager(t *testing.T, from inheritance, launch launcher, opts ...Option) *Manager {
	t.Helper()
	o, err := newOptions(append([]Option{WithUpgradeSignals(), WithShutdownSignals()}, opts...))
	if err != nil {
		t.Fatal(err)
	}
	o.wires = wiring.Wiring{Launch: launch}
	return newManager(o, program{}, from, signals.Claim(nil, nil))
}

func (r *rig) launch(_ context.Context, l wiring.Launch) (wiring.Child, wiring.Link, error) {
	f := &fakeSuccessor{fakeLink: newFakeLink(), fakeChild: &fakeChild{exited: make(chan struct{}), immortal: r.immortal}}
	if err := l.Greet(f.fakeLink); err != nil {
		return nil, nil, err
	}
	r.successors = append(r.successors, f)
	go r.script(f)
	return f.fakeChild, f.fakeLink, nil
}

// finish ends everything that a bubble would wait for.
func (r *rig) finish(t *testing.T) {
	t.Helper()
	for _, f := range r.successors {
		f.die()
	}
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func (r *rig) called(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, what)
}

// takeCalls returns what the hooks have noted since it was called last. OnDrain hooks run side by side:
// theirs are sorted.
func (r *rig) takeCalls() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.calls, func(c string) bool { return strings.HasPrefix(c, "drain:") }); i >= 0 {
		slices.Sort(r.calls[i:])
	}
	calls := strings.Join(r.calls, " ")
	r.calls = slices.Delete(r.calls, 0, len(r.calls))
	return calls
}

func (r *rig) appendHooks(name string) {
	note := func(kind string) func(context.Context) error {
		return func(context.Context) error {
			r.called(kind + ":" + name)
			return nil
		}
	}
	r.Append(Hook{
		Name: name, OnUpgrade: note("upgrade"), OnReady: note("ready"), OnDrain: note("drain"),
		OnUpgradeFailed: func(ctx context.Context, _ error) error { return note("failed")(ctx) },
	})
}

// newTestManager returns a first generation, which ends with the test. A process may have several.
func newTestManager(t testing.TB, opts ...Option) *Manager {
	t.Helper()
	wires := wiring.Processes()
	wires.Container = nil // whoever runs the tests, and where
	own := []Option{WithUpgradeSignals(), WithShutdownSignals(), withWiring(wires)}
	m, err := New(append(own, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}
