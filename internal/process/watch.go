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
	handle *os.File      // a descriptor of the process; nil if there is none
	reaped chan struct{} // closed when state is known, or never will be
	state  string
}

// Watch begins to watch a process. The caller must make sure that the number still belongs to that
// process, for example by a connection to it that is still open when Watch has returned.
//
// On Linux the Watched holds a descriptor of the process, see pidfd_open(2). Elsewhere, and before
// Linux 5.3, only the parent of this process can be watched, by whether it is still the parent:
// nothing else about another process is certain.
func Watch(pid int) (*Watched, error) {
	if f := openHandle(pid); f != nil {
		return WatchHandle(f, pid)
	}
	if os.Getppid() != pid {
		return nil, fmt.Errorf("watch process %d: it has ended or is not this one's parent", pid)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &Watched{pid: pid, gone: make(chan struct{}), stop: stop, reaped: make(chan struct{})}
	close(w.reaped)
	go w.pollParent(ctx) // ends with the parent or with Close
	return w, nil
}

// pollEvery is the time between two polls, which cost one system call each.
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

// PID returns the number of the process.
func (w *Watched) PID() int { return w.pid }

// Gone returns a channel that is closed when the process has ended. Its descriptors are then
// closed, so its ports and locks are free.
func (w *Watched) Gone() <-chan struct{} { return w.gone }

// Handle returns the descriptor of the process, so that it can be passed to another one. It is nil
// if there is none or if the process is gone.
func (w *Watched) Handle() syscall.Conn {
	if w.handle == nil || w.isGone() {
		return nil
	}
	return w.handle
}

// Signal sends a signal to the process, but not to another one that has its number by now. It uses
// the descriptor; without one, or where a seccomp filter forbids pidfd_send_signal(2), it first
// checks that the process is still the parent of this one. (A small race remains there: the parent
// may end, and a new process get its number, between the check and the signal.) The error is
// [os.ErrProcessDone] if the process is gone.
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
	if w.handle == nil && os.Getppid() != w.pid {
		return os.ErrProcessDone
	}
	if w.handle != nil {
		err := signalHandle(w.handle, sig)
		if !mayBeFiltered(err) || os.Getppid() != w.pid {
			return err
		}
	}
	return signalNumber(w.pid, sig)
}

// mayBeFiltered reports whether an error is one with which seccomp filters forbid system calls.
func mayBeFiltered(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS)
}

func (w *Watched) isGone() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// State says how the process ended, in the words of [os.ProcessState]. After Gone is closed it
// waits a moment, or until ctx ends, for the parent of the process to wait for it. It returns "" if
// the system reports this only to the parent (before Linux 6.15).
func (w *Watched) State(ctx context.Context) string {
	select {
	case <-w.reaped:
		return w.state
	case <-ctx.Done():
		return ""
	}
}

// Close stops watching. Gone may then stay open. Close can be called more than once.
func (w *Watched) Close() { w.stop() }
