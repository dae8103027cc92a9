package process

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Loaded returns the file of this program, given the one that the process executes. They differ
// where a dynamic loader was executed and told to load the program (ld-linux.so ./service): the
// loader would take the first argument of a successor for a program.
func Loaded(executed string) string {
	pc, _, _, _ := runtime.Caller(0)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return executed
	}
	mapped := mappedAt(string(maps), uint64(pc))
	if mapped == "" || mapped == executed {
		return executed
	}
	// A program that has a loader of its own is none, but one that has loaded this library.
	if f, err := readFormat(executed); err != nil || f.machine == "" || f.interpreter != "" {
		return executed
	}
	return mapped
}

// mappedAt returns the path of the file that is mapped at an address, or "": see proc_pid_maps(5).
func mappedAt(maps string, address uint64) string {
	for line := range strings.Lines(maps) {
		region, rest, _ := strings.Cut(line, " ")
		from, to, _ := strings.Cut(region, "-")
		start, err := strconv.ParseUint(from, 16, 64)
		end, endErr := strconv.ParseUint(to, 16, 64)
		if err != nil || endErr != nil || address < start || address >= end {
			continue
		}
		_, path, found := strings.Cut(rest, "/") // after permissions, offset, device and inode
		if !found {
			return ""
		}
		path = strings.TrimSuffix(path, "\n")
		return "/" + strings.TrimSuffix(path, " (deleted)")
	}
	return ""
}
