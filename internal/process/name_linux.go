package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// RestoreName gives this process the name that ps(1) and pgrep(1) would show if it had been started
// by the path. The kernel names a process after the last part of the executed path, which is the
// number of a descriptor for an [Executable]. A process whose name is not a number keeps it.
func RestoreName(path string) {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return
	}
	if _, err := strconv.Atoi(strings.TrimSpace(string(name))); err != nil {
		return
	}
	// Each thread has a name, which new threads copy from their creator.
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		_ = os.WriteFile("/proc/self/task/"+t.Name()+"/comm", []byte(filepath.Base(path)), 0)
	}
}
