//go:build unix

package fds

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxProbed bounds the search for descriptors if the system does not list them.
const maxProbed = 1 << 20

// listDescriptors returns the open descriptors of this process. Any of them may be closed by the
// time that it returns.
func listDescriptors() []int {
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		open := make([]int, 0, len(entries))
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				open = append(open, fd)
			}
		}
		return open
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil
	}
	var open []int
	most := min(uint64(limit.Cur), maxProbed) //nolint:unconvert // it is signed on FreeBSD
	for fd := range int(most) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open = append(open, fd)
		}
	}
	return open
}
