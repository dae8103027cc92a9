//go:build unix

package gracehttp

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// duplicate returns a second descriptor of a socket, or nil if the system has none left.
func duplicate(raw syscall.RawConn) (socket *os.File) {
	_ = raw.Control(func(fd uintptr) { // a dead connection needs none
		if second, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			socket = os.NewFile(uintptr(second), "connection")
		}
	})
	return socket
}

// closeWrite closes the direction to the client, which finds the end after the last byte.
func closeWrite(socket *os.File) {
	control(socket, func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }) // it may be dead already
}

// control calls f with the descriptor, unless the file is closed.
func control(socket *os.File, f func(fd int)) {
	if raw, err := socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
