//go:build unix

package lineage

import (
	"os"
	"strconv"
	"syscall"
)

// keepInherited sees that the service has only the descriptors that it is given. What a shell has left open in this process would be
// counted in some generations, until it gives way to a socket that has to have its number.
func keepInherited() {
	entries, _ := os.ReadDir("/proc/self/fd") // nothing to read: descriptors are not counted
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
