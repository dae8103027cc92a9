package fds

import "golang.org/x/sys/unix"

func socketProtocol(fd int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return 0
	}
	return n
}

// closeRangeCloexec marks a range of descriptors in one call, from Linux 5.11 on.
func closeRangeCloexec(first, last int) error {
	return unix.CloseRange(uint(first), uint(last), unix.CLOSE_RANGE_CLOEXEC)
}
