package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// RestoreName gives this process the name by which ps(1) and pgrep(1) would know it, had it been started by the path. The
// kernel calls a process after the last part of the path that it has executed, and for an [Executable] that is the number of a
// descriptor. A process that has another kind of name keeps it.
func RestoreName(path string) {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return
	}
	if _, err := strconv.Atoi(strings.TrimSpace(string(name))); err != nil {
		return
	}
	threads, _ := os.ReadDir("/proc/self/task") // each has a name, those that start later that of their creator
	for _, t := range threads {
		_ = os.WriteFile("/proc/self/task/"+t.Name()+"/comm", []byte(filepath.Base(path)), 0)
	}
}
