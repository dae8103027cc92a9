//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary starts itself as the service under test if this variable is set, to its config.
const envConfig = "GRACE_E2E_CONFIG"

// patience is how long a test waits for something that will happen. It bounds a failure, and not a success.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(envConfig); ok {
		runService(text)
	}
	// What our children start becomes our child when they have ended, so that no process is left behind unseen.
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

// runService does not return.
func runService(text string) {
	var c config
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
	os.Exit(0)
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
