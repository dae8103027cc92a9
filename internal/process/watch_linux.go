package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchHandle watches through a process descriptor, which becomes readable when the process ends; nil if there is none to be
// had.
func watchHandle(pid int) *Watched {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	_ = unix.SetNonblock(fd, true) // else os.File would not let the poller wait for it
	f := os.NewFile(uintptr(fd), fmt.Sprintf("process %d", pid))
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil
	}
	w := &Watched{pid: pid, gone: make(chan struct{}), stop: func() { _ = f.Close() }}
	go func() { // ends with the process or with Close
		if raw.Read(ended) == nil {
			close(w.gone)
		}
		w.stop()
	}()
	return w
}

// ended reports whether a process descriptor is readable now.
func ended(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}
