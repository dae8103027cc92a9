// Package process starts a process with exact descriptors, ends it, and watches one that is not a child.
//
// It never sends a signal to a bare number: where the kernel has process descriptors, each [Child] and each [Watched] holds
// one, and elsewhere a child is signalled only while it has not been waited for, which keeps its number from being used
// again.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	Path string   // of the executable, resolved by the kernel when the process starts
	Args []string // with the program's name first, as in os.Args
	Dir  string   // "" for the present one
	Env  []string
	// Files become the child's descriptors 0, 1, 2 and so on. The child gets exactly these, and their flags are left as they
	// are: os/exec and os.StartProcess would clear O_NONBLOCK, which a socket shares with every process that has it
	// (golang.org/issue/29277).
	Files []uintptr
	// Executable is what is started, by the name of Path; nil for what Path leads to at the start. It stays the caller's.
	Executable *Executable
}

// Child is a process that this one has started.
type Child struct {
	pid    int
	proc   *os.Process
	exited chan struct{}
	state  *os.ProcessState // set before exited is closed; nil if somebody else has waited for the child
}

// Start starts a process. The child is waited for whether or not anybody asks for its end, so it never stays a zombie. A file
// that is still open for writing (ETXTBSY), as one that is just being installed, is tried again until ctx ends or a second
// has passed.
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
	for pause, waited := busyFirst, time.Duration(0); ; pause *= 2 {
		pid, err = start(spec)
		if !isBusy(err) || waited >= busyTotal {
			return pid, err
		}
		select {
		case <-time.After(pause):
			waited += pause
		case <-ctx.Done():
			return 0, errors.Join(context.Cause(ctx), err)
		}
	}
}

func (c *Child) wait() {
	state, err := c.proc.Wait()
	if err != nil {
		_ = c.proc.Release() // somebody else has waited for it; Wait releases only what it has waited for
	}
	c.state = state
	close(c.exited)
}

// PID is the number of the process.
func (c *Child) PID() int { return c.pid }

// Exited is closed when the process has ended and was waited for.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// State says how the process ended, in the words of [os.ProcessState]. It waits for the end.
func (c *Child) State() string {
	<-c.exited
	if c.state == nil {
		return "exit status unknown (something else has waited for the process)"
	}
	return c.state.String()
}

// Kill ends the process at once. To kill a process that has ended is no error.
func (c *Child) Kill() error { return c.signal(os.Kill) }

// Terminate asks the process to end, by SIGTERM. To ask a process that has ended is no error.
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
