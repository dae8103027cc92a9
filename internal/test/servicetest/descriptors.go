//go:build linux

package servicetest

import (
	"os"
	"strconv"
	"strings"
)

// Descriptors tells by number what this process has open, but for what is there by chance: files in
// /proc and /sys are those of the runtime, and a process descriptor is that of the successor, as
// long as it lives.
func Descriptors() map[int]string {
	const dir = "/proc/self/fd/"
	entries, _ := os.ReadDir(dir)
	open := make(map[int]string)
	for _, e := range entries {
		what, err := os.Readlink(dir + e.Name())
		byChance := err != nil || strings.HasPrefix(what, "/proc/") ||
			strings.HasPrefix(what, "/sys/") || what == "anon_inode:[pidfd]"
		if fd, err := strconv.Atoi(e.Name()); err == nil && !byChance {
			open[fd] = what
		}
	}
	return open
}
