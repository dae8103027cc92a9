package main

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

// lineage is the service as the driver sees it: a process with those that succeed it. Except for stop, its methods are for one
// goroutine.
type lineage struct {
	dir      string // of the unix socket
	first    *exec.Cmd
	leash    *os.File      // the other end is the standard input of the processes, which end when we close ours
	reports  <-chan report // closed when all of them have ended, and so their standard output
	exited   chan struct{} // closed when the first process was waited for
	firstErr error         // how it ended; set before
	inspect  func(report)  // is shown those with a census

	addrs    map[string]string // by the names of the sockets
	alive    map[int]bool      // the process ids
	serving  report            // of the process that has taken over last
	upgrades int               // that have succeeded
	failures []error           // of upgrades
	troubles []error           // what else should not have happened
	stop     func() error      // ends the processes and waits for them; only the first call does
}

// start starts this program as the service, and waits until it serves.
func start(ctx context.Context, drainTimeout time.Duration, inspect func(report)) (*lineage, error) {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return nil, err
	}
	l, err := launch(serveCommand, dir, drainTimeout.String())
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	l.dir, l.inspect, l.addrs = dir, inspect, make(map[string]string)
	l.stop = sync.OnceValue(func() error { return l.end(drainTimeout) })
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("it does not serve within %v", stepTimeout))
	defer cancel()
	if err := l.await(ctx, func() bool { return l.serving.PID != 0 }, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the service: %w", err), l.stop())
	}
	return l, nil
}

func launch(args ...string) (*lineage, error) {
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
	cmd := exec.Command(self, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, leash.Close(), out.Close())
	}
	l := &lineage{
		first: cmd, leash: leash, reports: receive(out), exited: make(chan struct{}), alive: map[int]bool{cmd.Process.Pid: true},
	}
	go func() { // ends with the first process
		l.firstErr = cmd.Wait()
		close(l.exited)
	}()
	return l, nil
}

// receive reads reports until the last process that could write one has ended. It takes the file.
func receive(f io.ReadCloser) <-chan report {
	reports := make(chan report, 64)
	go func() { // ends with the processes; the reader of the channel is in await or in end, which reads to the last
		defer close(reports)
		defer f.Close() //nolint:errcheck // only read
		lines := json.NewDecoder(f)
		for {
			var r report
			if err := lines.Decode(&r); err != nil {
				return
			}
			reports <- r
		}
	}()
	return reports
}

// draining counts the older generations that are still alive.
func (l *lineage) draining() int { return len(l.alive) - 1 }

// upgrade has the serving process replaced, or fail to be.
func (l *lineage) upgrade(ctx context.Context) error {
	old, failed, done := l.serving, len(l.failures), l.upgrades+len(l.failures)+1
	if err := signalTo(old.PID, syscall.SIGHUP); err != nil {
		return err
	}
	return l.await(ctx, func() bool {
		tookOver := l.serving.Generation > old.Generation // reported by the one process, and the end of the upgrade by the other
		return l.upgrades+len(l.failures) == done && (tookOver || len(l.failures) > failed)
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

// await follows what happens until something is true, or should not have happened.
func (l *lineage) await(ctx context.Context, done func() bool, look <-chan struct{}) error {
	err := l.follow(ctx, func() bool { return done() || len(l.troubles) > 0 }, look)
	if err == nil && len(l.troubles) > 0 {
		return errTrouble
	}
	return err
}

// follow takes reports until something is true. It looks after each report, and after each word from the channel.
func (l *lineage) follow(ctx context.Context, done func() bool, look <-chan struct{}) error {
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

func never() bool { return false }

// note remembers a report.
func (l *lineage) note(r report) {
	switch r.What {
	case listening:
		l.addrs[r.Socket] = r.Addr // the same in each generation
	case started:
		l.alive[r.Successor] = true
	case serving:
		l.serving = r
	case upgraded:
		l.upgrades++
	case failed:
		delete(l.alive, r.Successor)
		l.failures = append(l.failures, fmt.Errorf("generation %d: %s", r.Generation, r.Error))
	case troubled:
		l.troubles = append(l.troubles, fmt.Errorf("generation %d: %s", r.Generation, r.Error))
	case ready, draining:
		l.inspect(r)
	case left:
		delete(l.alive, r.PID)
	}
}

// end is stop. The processes drain when they lose the leash.
func (l *lineage) end(timeout time.Duration) error {
	defer os.RemoveAll(l.dir) //nolint:errcheck // there is nothing in it that anybody needs
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
func (l *lineage) awaitEnd(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := l.follow(ctx, never, nil); !errors.Is(err, errEnded) {
		return fmt.Errorf("%d processes have not ended within %v", len(l.alive), timeout)
	}
	return nil
}
