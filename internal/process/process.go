// Package process starts a process with exact descriptors, ends it, and watches one that is not a
// child.
//
// It never sends a signal to a bare number. If the kernel has process descriptors, each [Child] and
// each [Watched] holds one. Otherwise a child is signalled only before it has been waited for,
// because until then its number cannot be used again.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Spec describes a process to start.
type Spec struct {
	Path string   // of the executable, resolved by the kernel when the process starts
	Args []string // beginning with the program's name, as in os.Args
	Dir  string   // "" for the current one
	Env  []string
	// Files become the child's descriptors 0, 1, 2 and so on. The child gets no others, and their
	// flags stay as they are: os/exec and os.StartProcess would clear O_NONBLOCK, which all
	// processes that have a socket share (golang.org/issue/29277).
	Files []uintptr
	// Executable is the program to start under the name of Path; nil for the file at Path. It stays
	// the caller's.
	Executable *Executable
}

// Child is a process that this one has started.
type Child struct {
	pid    int
	proc   *os.Process
	exited chan struct{}
	// state is set before exited is closed. It is nil if something else has waited for the child.
	state *os.ProcessState
}

// Start starts a process. It also waits for the child, which therefore never stays a zombie. If the
// file is still open for writing (ETXTBSY) because it is being installed, Start retries until ctx
// ends or a second has passed.
func Start(ctx context.Context, spec Spec) (*Child, error) {
	pid, err := startPatiently(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	proc, err := os.FindProcess(pid) // race-free: nobody has waited for the child yet
	if err != nil {
		return nil, fmt.Errorf("find process %d, just started: %w", pid, err)
	}
	c := &Child{pid: pid, proc: proc, exited: make(chan struct{})}
	go c.wait() // ends with the child
	return c, nil
}

const (
	busyFirst = 5 * time.Millisecond
	busyTotal = time.Second
)

func startPatiently(ctx context.Context, spec Spec) (pid int, err error) {
	var busy error
	for pause, waited := busyFirst, time.Duration(0); ; pause *= 2 {
		pid, err = start(ctx, spec)
		switch {
		case err == nil:
			return pid, nil
		case isBusy(err) && waited < busyTotal:
			busy = err
		case ctx.Err() != nil:
			return 0, errors.Join(err, busy)
		default:
			return 0, err
		}
		select {
		case <-time.After(pause):
			waited += pause
		case <-ctx.Done():
			return 0, errors.Join(context.Cause(ctx), busy)
		}
	}
}

func (c *Child) wait() {
	state, err := c.proc.Wait()
	if err != nil {
		// Something else has waited for the child, so Wait has released nothing.
		_ = c.proc.Release()
	}
	c.state = state
	close(c.exited)
}

// PID returns the number of the process.
func (c *Child) PID() int { return c.pid }

// Exited returns a channel that is closed when the process has ended and was waited for.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// State waits for the end of the process and says how it ended, in the words of [os.ProcessState].
func (c *Child) State() string {
	<-c.exited
	if c.state == nil {
		return "exit status unknown (something else has waited for the process)"
	}
	return c.state.String()
}

// Kill ends the process at once. It is not an error if the process has ended.
func (c *Child) Kill() error { return c.signal(os.Kill) }

// Terminate asks the process to end, by SIGTERM. It is not an error if the process has ended.
func (c *Child) Terminate() error { return c.signal(syscall.SIGTERM) }

func (c *Child) signal(sig os.Signal) error {
	select {
	case <-c.exited:
		return nil
	default:
	}
	if err := c.proc.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to process %d: %w", sig, c.pid, err)
	}
	return nil
}
