package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Watched is a process that is not a child of this one, such as its parent.
type Watched struct {
	pid    int
	gone   chan struct{}
	stop   func()
	handle *os.File      // a descriptor of the process; nil where there is none
	reaped chan struct{} // closed when state is known, or never will be
	state  string
}

// Watch begins to watch a process. The caller must know that the number still means the process it has in mind, for example
// because a connection to it is open when Watch has returned.
//
// On Linux the process is held by a descriptor, pidfd_open(2). Elsewhere, and before Linux 5.3, only the parent of this
// process can be watched, by whether it still is the parent: nothing else about another process can be known for sure.
func Watch(pid int) (*Watched, error) {
	if f := openHandle(pid); f != nil {
		return WatchHandle(f, pid)
	}
	if os.Getppid() != pid {
		return nil, fmt.Errorf("watch process %d: it has ended, or is not the parent of this one", pid)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Watched{pid: pid, gone: make(chan struct{}), stop: stop, reaped: make(chan struct{})}
	close(w.reaped)
	go w.pollParent(ctx) // ends with the parent or with Close
	return w, nil
}

// pollEvery costs one system call each time.
const pollEvery = 20 * time.Millisecond

func (w *Watched) pollParent(ctx context.Context) {
	for os.Getppid() == w.pid {
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return
		}
	}
	close(w.gone)
}

// PID is the number of the process.
func (w *Watched) PID() int { return w.pid }

// Gone is closed when the process has ended: its descriptors are closed, and so its ports and locks are free.
func (w *Watched) Gone() <-chan struct{} { return w.gone }

// Handle gives the descriptor of the process, to be passed on to another one; nil where there is none, or the process is gone.
func (w *Watched) Handle() syscall.Conn {
	if w.handle == nil || w.isGone() {
		return nil
	}
	return w.handle
}

// Signal sends a signal to the process, and to no other that has got its number: through the descriptor, or else only while
// the process still is the parent of this one. (There a parent that ends between the look and the signal is a race that cannot
// be won; that its number is given to a new process in these few instructions is what remains.) The error is
// [os.ErrProcessDone] when the process is gone.
func (w *Watched) Signal(sig syscall.Signal) error {
	err := w.signal(sig)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to process %d: %w", sig, w.pid, err)
	}
	return err
}

func (w *Watched) signal(sig syscall.Signal) error {
	if w.isGone() {
		return os.ErrProcessDone
	}
	if w.handle != nil {
		return signalHandle(w.handle, sig)
	}
	if os.Getppid() != w.pid {
		return os.ErrProcessDone
	}
	return signalNumber(w.pid, sig)
}

func (w *Watched) isGone() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// State says how the process ended, in the words of [os.ProcessState], once Gone is closed and its own parent has waited for
// it; it waits a moment for that, unless ctx ends. It is "" where the system does not tell strangers (before Linux 6.15).
func (w *Watched) State(ctx context.Context) string {
	select {
	case <-w.reaped:
		return w.state
	case <-ctx.Done():
		return ""
	}
}

// Close ends the watch; Gone may then stay open. It can be called more than once.
func (w *Watched) Close() { w.stop() }
