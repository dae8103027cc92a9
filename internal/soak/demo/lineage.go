package demo

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

// How long the demo waits for servers.
const (
	stepTimeout = 10 * time.Second // until one serves
	endTimeout  = 15 * time.Second // until all have ended
	killTimeout = 5 * time.Second  // until those have ended that had to be killed
)

// lineage is a server process with those that succeed it. Except for stop, its methods are for one goroutine.
type lineage struct {
	table    *table
	first    *exec.Cmd
	leash    *os.File      // the other end is the standard input of the processes, which end when we close ours
	reports  <-chan report // closed when all of them have ended, and so their standard output
	exited   chan struct{} // closed when the first process was waited for
	firstErr error         // how it ended; set before

	addr     string
	alive    map[int]*member
	serving  *member // nil at first
	upgrades int
	stop     func() error // ends the processes and waits for them; only the first call does
}

// member is one process of a lineage.
type member struct {
	process  *os.Process
	tookOver time.Duration
	drained  time.Duration
}

// start starts this program as a server, and waits until it serves.
func start(ctx context.Context, t *table, args ...string) (*lineage, error) {
	l, err := launch(t, args...)
	if err != nil {
		return nil, err
	}
	if err := l.await(ctx, func() bool { return l.serving != nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the server: %w", err), l.stop())
	}
	return l, nil
}

func launch(t *table, args ...string) (*lineage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	stdin, leash, err := os.Pipe() // not cmd.StdinPipe: that is closed when the first process ends, and it has successors
	if err != nil {
		return nil, err
	}
	defer stdin.Close() //nolint:errcheck // the server has its own
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
		table: t, first: cmd, leash: leash, reports: receive(out), exited: make(chan struct{}),
		alive: map[int]*member{cmd.Process.Pid: {process: cmd.Process}},
	}
	l.stop = sync.OnceValue(l.end)
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

// rest lets time pass.
func (l *lineage) rest(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errRested)
	defer cancel()
	if err := l.follow(ctx, never); !errors.Is(err, errRested) {
		return err
	}
	return nil
}

// upgrade has the serving process replace itself.
func (l *lineage) upgrade(ctx context.Context) error {
	old, done := l.serving, l.upgrades+1
	if err := old.process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("send SIGHUP to process %d: %w", old.process.Pid, err)
	}
	err := l.await(ctx, func() bool { return l.serving != old && l.upgrades == done }) // the two processes report it
	if err != nil {
		return fmt.Errorf("wait for upgrade %d: %w", done, err)
	}
	return nil
}

// await follows what happens until something is true, for as long as a step may take.
func (l *lineage) await(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("nothing for %v", stepTimeout))
	defer cancel()
	return l.follow(ctx, done)
}

// How following ends.
var (
	errEnded  = errors.New("the server has ended")
	errRested = errors.New("rested")
)

func never() bool { return false }

// follow takes reports until something is true.
func (l *lineage) follow(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case r, ok := <-l.reports:
			if !ok {
				return errEnded
			}
			if err := l.note(r); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// note remembers a report.
func (l *lineage) note(r report) error {
	m := l.member(r.PID)
	switch r.What {
	case listening:
		l.addr = r.Addr
	case started:
		l.member(r.Successor)
	case serving:
		l.serving = m
	case upgraded:
		l.member(r.Successor).tookOver = r.Took
		l.upgrades++
	case failed:
		return fmt.Errorf("generation %d: %s", r.Generation, r.Error)
	case drained:
		m.drained = r.Took
	case left:
		l.table.row(r.Generation, r.PID, r.Requests, m.tookOver, m.drained)
		delete(l.alive, r.PID)
	}
	return nil
}

// member gives the process, of which we hear perhaps for the first time; it lives while it reports.
func (l *lineage) member(pid int) *member {
	m := l.alive[pid]
	if m == nil {
		m = &member{}
		m.process, _ = os.FindProcess(pid) // never fails on unix
		l.alive[pid] = m
	}
	return m
}

// end is stop: processes that lose the leash drain. (A SIGTERM as well might come when a process is about to leave, and kill it.)
func (l *lineage) end() error {
	_ = l.leash.Close()
	if err := l.awaitEnd(endTimeout); err != nil {
		for _, m := range l.alive {
			_ = m.process.Kill()
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

// awaitEnd follows what happens until the last process has ended. That an upgrade fails meanwhile is no reason to leave
// anybody behind.
func (l *lineage) awaitEnd(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for ctx.Err() == nil {
		if err := l.follow(ctx, never); errors.Is(err, errEnded) {
			return nil
		}
	}
	return fmt.Errorf("%d processes have not ended within %v", len(l.alive), d)
}
