//go:build unix

package lineage

import (
	"os"
	"strconv"
	"syscall"
)

// closeInheritedOnExec keeps the descriptors that a shell left open in this process out of the
// service. They would show up in the census of some generations, until a socket takes their number.
func closeInheritedOnExec() {
	entries, _ := os.ReadDir("/proc/self/fd") // nothing to read: descriptors are not counted
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
