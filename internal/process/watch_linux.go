package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Self returns a descriptor of this process, by which a successor can watch it. Unlike a number, it
// cannot belong to another process later. It is nil if the system has no such descriptors.
func Self() *os.File { return openHandle(os.Getpid()) }

// openHandle returns a descriptor of a process, or nil if it cannot be opened. It is nonblocking,
// also in the processes that inherit it, so that the runtime waits for it without a thread.
func openHandle(pid int) *os.File {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), fmt.Sprintf("process %d", pid))
}

// WatchHandle watches the process that got the descriptor from [Self]. It takes the descriptor,
// which becomes readable when the process ends.
func WatchHandle(f *os.File, pid int) (*Watched, error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = checkHandle(raw)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch process %d: %w", pid, err), f.Close())
	}
	w := &Watched{
		pid: pid, handle: f, stop: func() { _ = f.Close() },
		gone: make(chan struct{}), reaped: make(chan struct{}),
	}
	go func() { // ends soon after the process, or with Close
		defer w.stop()
		defer close(w.reaped)
		if raw.Read(ended) == nil {
			close(w.gone)
			w.state = exitState(raw)
		}
	}()
	return w, nil
}

// How long the parent of a process may take to wait for it.
const (
	reapTimeout = 100 * time.Millisecond
	reapPoll    = 5 * time.Millisecond
)

// exitState asks how the process has ended. After the parent of the process has waited for it, the
// kernel still reports that through a descriptor (PIDFD_GET_INFO, see pidfd_open(2)).
func exitState(raw syscall.RawConn) string {
	for waited := time.Duration(0); waited < reapTimeout; waited += reapPoll {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		var err error
		if raw.Control(func(fd uintptr) { err = unix.IoctlPidfdInfo(int(fd), &info) }) != nil {
			return "" // the watch was closed
		}
		if err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return describeExit(syscall.WaitStatus(info.Exit_code))
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return "" // an older kernel
		}
		time.Sleep(reapPoll)
	}
	return ""
}

func describeExit(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// checkHandle returns an error unless the descriptor is that of a process.
func checkHandle(raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), 0, nil, 0) })
	if errors.Is(err, unix.EBADF) {
		return errors.New("the descriptor is not that of a process")
	}
	return controlErr // the process need not be alive, nor may this one signal it
}

// ended reports whether a process descriptor is readable now.
func ended(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// signalHandle sends a signal by pidfd_send_signal(2).
func signalHandle(f *os.File, sig syscall.Signal) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return os.ErrProcessDone // closed, as the process has ended
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if controlErr != nil || errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
