// Package lineage starts a service, upgrades it again and again under load, and reports whether
// anything grows from one generation to the next.
//
// The service is the same program as its driver (see [Main]), and ends with it. It reports its
// events through [Observe]. [Lineage.Soak] upgrades it.
package lineage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// How long the driver waits for the service, on a machine that is busy with something else.
const (
	stepTimeout = 2 * time.Minute
	killTimeout = 5 * time.Second // until the processes that it killed have ended
)

// Lineage is the driver's view of the service: its first process and all successors. Except for
// Stop, its methods are for one goroutine.
type Lineage struct {
	Outcome
	Addrs   map[string]string // by the names of the sockets
	Serving Report            // of the process that took over last

	drainTimeout time.Duration
	first        *exec.Cmd
	lifeline     *os.File      // the processes read its other end, and shut down when it is closed
	reports      <-chan Report // closed when the last process has ended
	exited       chan struct{} // closed when the first process has ended
	firstErr     error         // how it ended; set before exited is closed
	onReport     func(Report)
	alive        map[int]bool // by process id
	stop         func() error // only the first call has an effect
}

// Start starts this program as the service, with args, and waits until it serves. A drain must not
// take longer than drainTimeout. Every report is passed to onReport.
func Start(
	ctx context.Context, drainTimeout time.Duration, onReport func(Report), args ...string,
) (*Lineage, error) {
	l, err := launch(args)
	if err != nil {
		return nil, err
	}
	l.drainTimeout, l.onReport, l.Addrs = drainTimeout, onReport, make(map[string]string)
	l.stop = sync.OnceValue(func() error { return l.end(drainTimeout) })
	timedOut := fmt.Errorf("not serving within %v", stepTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, timedOut)
	defer cancel()
	if err := l.Await(ctx, func() bool { return l.Serving.PID != 0 }, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the service: %w", err), l.Stop())
	}
	return l, nil
}

// Stop has the processes drain, and waits until they have ended. Later calls return the same error.
func (l *Lineage) Stop() error { return l.stop() }

func launch(args []string) (*Lineage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// Not cmd.StdinPipe: that is closed at the end of the first process, which has successors.
	stdin, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close() //nolint:errcheck // the service has its own
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, lifeline.Close())
	}
	defer stdout.Close() //nolint:errcheck // as above
	cmd := exec.Command(self, append([]string{serveCommand}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	closeInheritedOnExec()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, lifeline.Close(), out.Close())
	}
	return follow(cmd, lifeline, out), nil
}

// follow takes the driver's ends of the pipes of a process that has just been started.
func follow(cmd *exec.Cmd, lifeline, out *os.File) *Lineage {
	l := &Lineage{
		first: cmd, lifeline: lifeline, reports: receive(out), exited: make(chan struct{}),
		alive: map[int]bool{cmd.Process.Pid: true},
	}
	go func() { // ends with the first process
		l.firstErr = cmd.Wait()
		close(l.exited)
	}()
	return l
}

// receive reads reports until the last process that could write one has ended. It takes f.
func receive(f io.ReadCloser) <-chan Report {
	reports := make(chan Report, 64)
	go func() { // ends with the processes: Await and Stop read the channel until it is closed
		defer close(reports)
		defer f.Close() //nolint:errcheck // only read
		lines := json.NewDecoder(f)
		for {
			var r Report
			if err := lines.Decode(&r); err != nil {
				return
			}
			reports <- r
		}
	}()
	return reports
}

// Draining returns the number of older generations that are still alive.
func (l *Lineage) Draining() int { return len(l.alive) - 1 }

// Upgrade has the serving process replace itself. An upgrade that fails is in l.Failures, and is
// not an error.
func (l *Lineage) Upgrade(ctx context.Context) error {
	old, failed, done := l.Serving, len(l.Failures), l.Upgrades+len(l.Failures)+1
	if err := signalTo(old.PID, syscall.SIGHUP); err != nil {
		return err
	}
	return l.Await(ctx, func() bool {
		// The new process reports that it serves, and the old one that the upgrade has finished.
		tookOver := l.Serving.Generation > old.Generation
		return l.Upgrades+len(l.Failures) == done && (tookOver || len(l.Failures) > failed)
	}, nil)
}

func signalTo(pid int, sig os.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := p.Signal(sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", sig, pid, err)
	}
	return p.Release()
}

// Why the driver stops waiting.
var (
	errEnded  = errors.New("the service has ended")
	errWarned = errors.New("the service has sent a warning") // which is in the verdict
)

// Await takes reports until done returns true. It fails if the service warns of something. done is
// called after each report, and after each value from wake.
func (l *Lineage) Await(ctx context.Context, done func() bool, wake <-chan struct{}) error {
	err := l.take(ctx, func() bool { return done() || len(l.Warnings) > 0 }, wake)
	if err == nil && len(l.Warnings) > 0 {
		return errWarned
	}
	return err
}

func (l *Lineage) take(ctx context.Context, done func() bool, wake <-chan struct{}) error {
	for !done() {
		select {
		case r, ok := <-l.reports:
			if !ok {
				return errEnded
			}
			l.note(r)
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Pause takes reports for d. If the service ends, the next upgrade notices it.
func (l *Lineage) Pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_ = l.take(ctx, never, nil)
}

func never() bool { return false }

// note records a report.
func (l *Lineage) note(r Report) {
	switch r.What {
	case Listening:
		l.Addrs[r.Socket] = r.Addr // the same in each generation
	case Started:
		l.alive[r.Successor] = true
	case Serving:
		l.Serving = r
	case Upgraded:
		l.Upgrades++
	case Failed:
		delete(l.alive, r.Successor)
		l.Failures = append(l.Failures, fmt.Errorf("generation %d: %s", r.Generation, r.Error))
	case Warned:
		l.Warnings = append(l.Warnings, fmt.Errorf("generation %d: %s", r.Generation, r.Error))
	case Left:
		delete(l.alive, r.PID)
	}
	l.Growth.add(r)
	l.onReport(r)
}

// end implements Stop.
func (l *Lineage) end(timeout time.Duration) error {
	_ = l.lifeline.Close()
	if err := l.awaitEnd(timeout); err != nil {
		for pid := range l.alive {
			_ = signalTo(pid, os.Kill)
		}
		return errors.Join(err, l.awaitEnd(killTimeout))
	}
	<-l.exited
	errs := []error{l.firstErr}
	for pid := range l.alive {
		errs = append(errs, fmt.Errorf("process %d ended without its last report", pid))
	}
	return errors.Join(errs...)
}

// awaitEnd takes reports until the last process has ended.
func (l *Lineage) awaitEnd(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := l.take(ctx, never, nil); !errors.Is(err, errEnded) {
		return fmt.Errorf("%d processes have not ended within %v", len(l.alive), timeout)
	}
	return nil
}
