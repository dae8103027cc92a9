//go:build linux

package grace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wiring"
)

// faultyMain is a line server that fails where and how a test wants it to. It passes points: before and after each message, each
// spawn, each hook and each change of state. Those are the seams that every Manager has: the wiring and the observer.
func faultyMain(c config) error {
	p := newPoints(c)
	p.pass("process started")
	ctx := p.newCaller()
	wires := wiring.Wiring{TakeLink: p.take, Launch: p.launch, Pair: handoff.TransferPair}
	m, err := New(append(p.options(), withWiring(wires))...)
	if err != nil {
		return err
	}
	s := &lineServer{m: m, config: c, listeners: map[string]net.Listener{}, caller: p.newCaller}
	for _, e := range c.Listen {
		if err := s.listen(e); err != nil {
			return err
		}
	}
	m.Append(p.hook(s))
	if sig, err := m.readyOrSignal(ctx); err != nil || sig != nil { // as Run does, but with a context that is Ready's alone
		return errors.Join(err, m.end(ctx, sig))
	}
	return m.Run(context.Background())
}

// A fault is what a process does at a point.
type fault string

const (
	// Faults of a process, which can happen at every point.
	faultKill   fault = "kill"   // by SIGKILL
	faultStop   fault = "stop"   // by SIGSTOP, until the other side has waited for as long as it ever waits
	faultExit   fault = "exit"   // with status 9
	faultPanic  fault = "panic"  //
	faultClose  fault = "close"  // the link to the other side of the handoff
	faultCancel fault = "cancel" // the context of Upgrade or Ready

	// Faults of a message. Before it is sent they replace it, and after that they follow it.
	faultTruncated fault = "truncated" // the first half, and then the end of the link
	faultStalled   fault = "stalled"   // the first half, and then nothing
	faultOversized fault = "oversized"
	faultUnknown   fault = "unknown"
	faultRepeated  fault = "repeated"
)

// faults are in the order in which the matrix shows them.
var faults = []fault{
	faultKill, faultStop, faultExit, faultPanic, faultClose, faultCancel,
	faultTruncated, faultStalled, faultOversized, faultUnknown, faultRepeated,
}

// deadly reports whether the process ends at once.
func (f fault) deadly() bool { return f == faultKill || f == faultExit || f == faultPanic }

// point is where a process is in its life: the nth passage of one of its processes, counted by birth.
type point struct {
	Birth int // 1 is the process that the test has started, 2 its successor
	Name  string
	Nth   int
}

func (p point) String() string {
	if p.Nth == 1 {
		return p.Name
	}
	return fmt.Sprintf("%s (%d)", p.Name, p.Nth)
}

// passage is a point that was passed, and what a fault could use there.
type passage struct {
	point
	Parent, Successor bool // there is such a link
	Caller            bool // there is a context
	Sends             bool // a message is about to be sent, or was sent just now
}

// arming is the content of config.FaultFile.
type arming struct {
	Point point
	Fault fault
	Link  string // "parent" or "successor": the one to close
}

// envBirth counts the processes of a service. Generations will not do: a successor whose parent has died before Hello begins
// again.
const envBirth = "GRACE_TEST_BIRTH"

// points is what a faulty process passes.
type points struct {
	config config
	birth  int

	mu     sync.Mutex
	passed map[string]int
	links  map[string]*faultyLink // "parent" and "successor"
	cancel context.CancelCauseFunc
}

func newPoints(c config) *points {
	birth, _ := strconv.Atoi(os.Getenv(envBirth))
	return &points{config: c, birth: max(birth, 1), passed: map[string]int{}, links: map[string]*faultyLink{}}
}

func (p *points) options() []Option {
	opts := append(p.config.options(), WithObserver(p))
	if p.config.Probation > 0 {
		opts = append(opts, WithProbation(p.config.Probation, WithHealthCheck(p.checkHealth)))
	}
	return opts
}

// newCaller returns a context that a fault can cancel.
func (p *points) newCaller() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel = cancel
	return ctx
}

// hook has a function for every kind. The points are the events before and after each.
func (p *points) hook(s *lineServer) Hook {
	return Hook{
		Name:            "app",
		OnUpgrade:       func(context.Context) error { return nil },
		OnUpgradeFailed: func(context.Context, error) error { return nil },
		OnReady: func(context.Context) error {
			if _, err := os.Stat(p.config.SickFile); err == nil {
				return errors.New("this process is sick")
			}
			return nil
		},
		OnDrain:      s.drain,
		OnParentKill: func(context.Context, Process) error { return nil },
		OnParentExit: func(context.Context, Exit) error { return nil },
	}
}

func (p *points) checkHealth(_ context.Context, successor Process) error {
	p.pass("health check")
	return unix.Kill(successor.PID, 0)
}

// Observe makes a point of every event.
func (p *points) Observe(_ context.Context, r graceevent.Record) {
	name := strings.TrimPrefix(fmt.Sprintf("%T", r.Event), "graceevent.")
	switch e := r.Event.(type) {
	case graceevent.HookStarted:
		name += " " + e.Hook
	case graceevent.HookFinished:
		name += " " + e.Hook
	}
	p.pass(name)
}

// launch is that of a program with points around it.
func (p *points) launch(ctx context.Context, l wiring.Launch) (wiring.Child, wiring.Link, error) {
	l.Env = slices.DeleteFunc(slices.Clone(l.Env), func(v string) bool {
		return strings.HasPrefix(v, envBirth+"=")
	})
	l.Env = append(l.Env, fmt.Sprintf("%s=%d", envBirth, p.birth+1))
	var faulty wiring.Link
	greet := l.Greet
	l.Greet = func(l wiring.Link) error {
		faulty = p.wrap(l, "successor")
		err := greet(faulty)
		p.pass("before spawn")
		return err
	}
	c, _, err := wiring.Processes().Launch(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	say(printed{Event: "Spawned", PID: c.PID()})
	p.pass("after spawn")
	return c, faulty, nil
}

// take is that of a program with points around it.
func (p *points) take(sockets int) (wiring.Link, []*os.File, error) {
	p.pass("before taking the link")
	l, files, err := wiring.Processes().TakeLink(sockets)
	if l == nil {
		return nil, nil, err
	}
	l = p.wrap(l, "parent")
	p.pass("after taking the link")
	return l, files, err
}

func (p *points) wrap(l wiring.Link, to string) wiring.Link {
	faulty := &faultyLink{Link: l, points: p, to: to}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[to] = faulty
	return faulty
}

// faultyLink is a link with points before and after everything that it does.
type faultyLink struct {
	wiring.Link
	points *points
	to     string
}

func (l *faultyLink) Send(ctx context.Context, m handoff.Message) error {
	if l.points.passMessage("before send "+handoff.Name(m), l, m) {
		return nil // something else was sent
	}
	err := l.Link.Send(ctx, m)
	if err == nil {
		l.points.passMessage("after send "+handoff.Name(m), l, m)
	}
	return err
}

func (l *faultyLink) Queue(m handoff.Message) error {
	if l.points.passMessage("before send "+handoff.Name(m), l, m) {
		return nil
	}
	err := l.Link.Queue(m)
	if err == nil {
		l.points.passMessage("after send "+handoff.Name(m), l, m)
	}
	return err
}

func (l *faultyLink) Receive(ctx context.Context) (handoff.Message, error) {
	l.points.pass("before receive from " + l.to)
	m, err := l.Link.Receive(ctx)
	switch {
	case m != nil:
		l.points.pass("after receive " + handoff.Name(m))
	case errors.Is(err, io.EOF):
		l.points.pass("after end of " + l.to)
	default:
		l.points.pass("after receive nothing from " + l.to)
	}
	return m, err
}

func (l *faultyLink) Close() error {
	l.points.pass("before close of " + l.to)
	err := l.Link.Close()
	l.points.pass("after close of " + l.to)
	return err
}

// pass says that the process is at the point, and has the fault happen if it is to happen here.
func (p *points) pass(name string) { p.passMessage(name, nil, nil) }

// passMessage is pass where a message is sent. It reports whether a fault of the message has happened.
func (p *points) passMessage(name string, l *faultyLink, m handoff.Message) bool {
	at := p.say(name, l != nil)
	content, err := os.ReadFile(p.config.FaultFile)
	if err != nil {
		return false
	}
	var a arming
	if json.Unmarshal(content, &a) != nil {
		return false
	}
	if a.Point.Birth != p.birth && (name == "before send Abort" || name == "after send Failed") {
		p.awaitFault()
	}
	if a.Point != at {
		return false
	}
	say(printed{Event: "Fired", PID: os.Getpid(), Detail: at.String()})
	_ = os.Remove(p.config.FaultFile) // the next process of this birth is sound
	return p.happen(a, l, m)
}

// awaitFault lets the other process go on to the point at which its fault is to happen. When an upgrade fails, each side ends
// what the other uses: the old process kills the new one, and that closes the link.
func (p *points) awaitFault() {
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(p.config.FaultFile); err != nil {
			return
		}
	}
}

// say announces the point, which from then on counts as reached.
func (p *points) say(name string, sends bool) point {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed[name]++
	at := point{p.birth, name, p.passed[name]}
	say(printed{Event: "Point", PID: os.Getpid(), Detail: toJSON(passage{
		point: at, Parent: p.links["parent"] != nil, Successor: p.links["successor"] != nil, Caller: p.cancel != nil, Sends: sends,
	})})
	return at
}

func say(p printed) { _, _ = os.Stdout.WriteString(toJSON(p) + "\n") }

// happen is the fault.
func (p *points) happen(a arming, l *faultyLink, m handoff.Message) (ofMessage bool) {
	switch a.Fault {
	case faultKill:
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case faultStop:
		runtime.LockOSThread() // the signal of a thread stops it before it returns, and the others with it
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
		runtime.UnlockOSThread()
	case faultExit:
		os.Exit(9)
	case faultPanic:
		go panic("as told") // which nobody recovers
		select {}
	case faultClose:
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = p.links[a.Link].Link.Close()
	case faultCancel:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cancel(errors.New("cancelled by the fault"))
	default:
		spoil(l.Link, m, a.Fault)
		return true
	}
	return false
}

// spoil sends what it should not.
func spoil(l wiring.Link, m handoff.Message, f fault) {
	frame := frameOf(m)
	switch f {
	case faultTruncated, faultStalled:
		frame = frame[:len(frame)/2]
	case faultOversized:
		copy(frame, "\xff\xff\xff\xff")
	case faultUnknown:
		frame[4] = '?'
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Write(func(fd uintptr) bool {
		_, err := unix.Write(int(fd), frame)
		return !errors.Is(err, unix.EAGAIN)
	})
	if f == faultTruncated {
		_ = l.Close()
	}
}

// frameOf returns the bytes of a message.
func frameOf(m handoff.Message) []byte {
	here, there, err := handoff.Pair()
	if err != nil {
		panic(err)
	}
	defer there.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := errors.Join(here.Send(ctx, m), here.Close()); err != nil {
		panic(err)
	}
	frame, err := io.ReadAll(there)
	if err != nil {
		panic(err)
	}
	return frame
}
