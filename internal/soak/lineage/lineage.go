// Package lineage starts a service, has it replaced again and again under load, and tells whether anything grows with its
// generations.
//
// The service is the same program as its driver ([Main]), and stays no longer than that. It observes itself by [Observe], and is put
// through its paces by [Lineage.Soak].
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
	killTimeout = 5 * time.Second // until those have ended that had to be killed
)

// Lineage is the service as the driver sees it: a process with those that succeed it. Except for Stop, its methods are for one
// goroutine.
type Lineage struct {
	Outcome
	Addrs   map[string]string // by the names of the sockets
	Serving Report            // of the process that has taken over last

	drainTimeout time.Duration
	first        *exec.Cmd
	leash        *os.File      // the other end is the standard input of the processes, which end when we close ours
	reports      <-chan Report // closed when all of them have ended, and so their standard output
	exited       chan struct{} // closed when the first process was waited for
	firstErr     error         // how it ended; set before
	inspect      func(Report)
	alive        map[int]bool // the process ids
	stop         func() error // only the first call does
}

// Start starts this program as the service, with these arguments, and waits until it serves. A drain takes no longer than its
// timeout. The reports are shown to inspect.
func Start(ctx context.Context, drainTimeout time.Duration, inspect func(Report), args ...string) (*Lineage, error) {
	l, err := launch(args)
	if err != nil {
		return nil, err
	}
	l.drainTimeout, l.inspect, l.Addrs = drainTimeout, inspect, make(map[string]string)
	l.stop = sync.OnceValue(func() error { return l.end(drainTimeout) })
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("it does not serve within %v", stepTimeout))
	defer cancel()
	if err := l.Await(ctx, func() bool { return l.Serving.PID != 0 }, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the service: %w", err), l.Stop())
	}
	return l, nil
}

// Stop ends the processes, which drain, and waits for them. Later calls give the same.
func (l *Lineage) Stop() error { return l.stop() }

func launch(args []string) (*Lineage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	stdin, leash, err := os.Pipe() // not cmd.StdinPipe: that is closed when the first process ends, and it has successors
	if err != nil {
		return nil, err
	}
	defer stdin.Close() //nolint:errcheck // the service has its own
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, leash.Close())
	}
	defer stdout.Close() //nolint:errcheck // as above
	cmd := exec.Command(self, append([]string{serveCommand}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	keepInherited()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, leash.Close(), out.Close())
	}
	l := &Lineage{
		first: cmd, leash: leash, reports: receive(out), exited: make(chan struct{}), alive: map[int]bool{cmd.Process.Pid: true},
	}
	go func() { // ends with the first process
		l.firstErr = cmd.Wait()
		close(l.exited)
	}()
	return l, nil
}

// receive reads reports until the last process that could write one has ended. It takes the file.
func receive(f io.ReadCloser) <-chan Report {
	reports := make(chan Report, 64)
	go func() { // ends with the processes; the reader of the channel is in Await or in Stop, which reads to the last
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

// Draining counts the older generations that are still alive.
func (l *Lineage) Draining() int { return len(l.alive) - 1 }

// upgrade has the serving process replaced, or fail to be.
func (l *Lineage) upgrade(ctx context.Context) error {
	old, failed, done := l.Serving, len(l.Failures), l.Upgrades+len(l.Failures)+1
	if err := signalTo(old.PID, syscall.SIGHUP); err != nil {
		return err
	}
	return l.Await(ctx, func() bool {
		tookOver := l.Serving.Generation > old.Generation // reported by the one process, and the end of the upgrade by the other
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

// Why the driver stops to wait.
var (
	errEnded   = errors.New("the service has ended")
	errTrouble = errors.New("the service is in trouble") // the verdict says which
)

// Await follows what happens until something is true, or should not have happened.
func (l *Lineage) Await(ctx context.Context, done func() bool, look <-chan struct{}) error {
	err := l.follow(ctx, func() bool { return done() || len(l.Troubles) > 0 }, look)
	if err == nil && len(l.Troubles) > 0 {
		return errTrouble
	}
	return err
}

// follow takes reports until something is true. It looks after each report, and after each word from the channel.
func (l *Lineage) follow(ctx context.Context, done func() bool, look <-chan struct{}) error {
	for !done() {
		select {
		case r, ok := <-l.reports:
			if !ok {
				return errEnded
			}
			l.note(r)
		case <-look:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Pause lets some time pass. The next upgrade notices it if the service ends.
func (l *Lineage) Pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_ = l.follow(ctx, never, nil)
}

func never() bool { return false }

// note remembers a report.
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
	case Troubled:
		l.Troubles = append(l.Troubles, fmt.Errorf("generation %d: %s", r.Generation, r.Error))
	case Left:
		delete(l.alive, r.PID)
	}
	l.Growth.add(r)
	l.inspect(r)
}

// end is Stop. The processes drain when they lose the leash.
func (l *Lineage) end(timeout time.Duration) error {
	_ = l.leash.Close()
	if err := l.awaitEnd(timeout); err != nil {
		for pid := range l.alive {
			_ = signalTo(pid, os.Kill)
		}
		return errors.Join(err, l.awaitEnd(killTimeout))
	}
	<-l.exited
	errs := []error{l.firstErr}
	for pid := range l.alive {
		errs = append(errs, fmt.Errorf("process %d has ended without saying so", pid))
	}
	return errors.Join(errs...)
}

// awaitEnd follows what happens until the last process has ended.
func (l *Lineage) awaitEnd(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := l.follow(ctx, never, nil); !errors.Is(err, errEnded) {
		return fmt.Errorf("%d processes have not ended within %v", len(l.alive), timeout)
	}
	return nil
}
