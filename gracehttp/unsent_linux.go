package gracehttp

import (
	"os"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes the client's system has not confirmed (tcp(7), SIOCOUTQ), or how
// many the client has not read from a unix socket.
func unsent(socket *os.File) (n int) {
	control(socket, func(fd int) {
		n, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQ) // a dead connection has none
	})
	return n
}
