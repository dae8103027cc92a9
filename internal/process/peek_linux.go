package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// SameCommand reports whether a process was started with the arguments of this one. If that is
// unknown, it returns true.
func SameCommand(pid int) bool {
	ours, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		return true // there is no /proc
	}
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Equal(ours, theirs)
}

// Descriptors returns the target of each descriptor of a process; [SocketName] returns those of
// sockets.
func Descriptors(pid int) (map[int]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := make(map[int]string, len(entries))
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		target, linkErr := os.Readlink(dir + e.Name())
		if err == nil && linkErr == nil { // the process may close it at any time
			all[fd] = target
		}
	}
	return all, nil
}

// SocketName returns a name that identifies a socket in all processes, or "" for a descriptor that
// is not a socket.
func SocketName(fd uintptr) string {
	var st unix.Stat_t
	if unix.Fstat(int(fd), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return ""
	}
	return fmt.Sprintf("socket:[%d]", st.Ino)
}
