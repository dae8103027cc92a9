//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience is how long a test waits for something that will happen.
const patience = servicetest.Patience

// The test binary starts itself as the service under test.
func TestMain(m *testing.M) {
	servicetest.Main(config.serve)
	// When a child ends, its own children become ours, so no process is left behind unseen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become the subreaper:", err)
		os.Exit(1)
	}
	code := m.Run()
	if !childrenEnd() {
		code = 1
	}
	os.Exit(code)
}

// childrenEnd reports whether all processes have ended, and kills those that do not.
func childrenEnd() bool {
	for began := time.Now(); anyChild(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			killChildren()
			return false
		}
	}
	return true
}

// anyChild reports whether there is a child that has not ended.
func anyChild() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if pid <= 0 {
			return err != unix.ECHILD
		}
	}
}

func killChildren() {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(pids)) {
			name, _ := os.ReadFile(filepath.Join("/proc", field, "comm"))
			fmt.Fprintf(os.Stderr, "left behind: process %s, %s", field, name)
			if pid, err := strconv.Atoi(field); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL) // it may just have ended
			}
		}
	}
}
