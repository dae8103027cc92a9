package gracehttp

import (
	"time"

	"golang.org/x/sys/unix"
)

// lastReceived returns when data last arrived at a TCP socket (tcp(7), TCP_INFO), or zero for
// others.
func lastReceived(fd uintptr) time.Time {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(info.Last_data_recv) * time.Millisecond)
}

// hasUnread reports whether data has arrived at a socket that nobody has read yet.
func hasUnread(fd uintptr) bool {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	return err == nil && n > 0
}
