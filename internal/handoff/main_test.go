//go:build unix

package handoff

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperEnv names the helper that this binary is to be instead of a run of the tests.
const helperEnv = "GRACE_HANDOFF_TEST_HELPER"

var (
	helpers    = map[string]func() error{}
	helperUsed sync.Map
)

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(runHelper(name))
	}
	hideStrayDescriptors()
	before := openDescriptors()
	code := m.Run()
	if code == 0 && !isSet("test.fuzz") && !isSet("test.fuzzworker") {
		if err := errors.Join(unusedHelpers(), leftOver(before)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func runHelper(name string) int {
	if err := helpers[name](); err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", name, err)
		return 1
	}
	return 0
}

// hideStrayDescriptors keeps descriptors that leaked into the tests from whoever started them out of the helpers, and opens
// those of the runtime's poller, so that they do not count as leaked.
func hideStrayDescriptors() {
	for fd := range openDescriptors() {
		if fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	if r, w, err := os.Pipe(); err == nil {
		_, _ = r.Close(), w.Close()
	}
}

// openDescriptors is the census of what this process has open.
func openDescriptors() map[int]bool {
	open := make(map[int]bool)
	for fd := range 1024 {
		if isOpen(fd) {
			open[fd] = true
		}
	}
	return open
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// leftOver tells what the tests have left. Goroutines come first: some close a descriptor at their end.
func leftOver(before map[int]bool) error {
	errs := []error{goleak.Find()}
	for fd := range openDescriptors() {
		if !before[fd] {
			errs = append(errs, fmt.Errorf("descriptor %d is left open: %s", fd, describe(fd)))
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		errs = append(errs, fmt.Errorf("a child process is left (wait4: %v)", err))
	}
	return errors.Join(errs...)
}

// describe says what a descriptor is, on Linux.
func describe(fd int) string {
	what, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return what
}

func unusedHelpers() error {
	if isSet("test.run") || isSet("test.skip") || isSet("test.list") || isSet("test.bench") {
		return nil
	}
	var errs []error
	for name := range helpers {
		if _, used := helperUsed.Load(name); !used {
			errs = append(errs, fmt.Errorf("no test uses the helper %q", name))
		}
	}
	return errors.Join(errs...)
}

func isSet(name string) bool {
	f := flag.Lookup(name)
	return f != nil && f.Value.String() != "" && f.Value.String() != "false"
}

// startHelper starts a helper with these descriptors as 0, 3, 4 and so on, and gives a function that waits for its end and
// returns what it printed.
func startHelper(t *testing.T, name string, env []string, files ...uintptr) (output func() string) {
	t.Helper()
	helperUsed.Store(name, true)
	self, err := os.Executable()
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	env = append([]string{helperEnv + "=" + name, "GORACE=atexit_sleep_ms=0"}, env...)
	files = append([]uintptr{files[0], w.Fd(), 2}, files[1:]...)
	pid, _, err := syscall.StartProcess(self, []string{self}, &syscall.ProcAttr{Env: env, Files: files})
	must(t, err)
	proc, err := os.FindProcess(pid)
	must(t, err)
	return func() string {
		defer r.Close()
		defer time.AfterFunc(time.Minute, func() { _ = proc.Kill() }).Stop()
		said, err := io.ReadAll(r)
		state, waitErr := proc.Wait()
		if err != nil || waitErr != nil || !state.Success() {
			t.Fatalf("helper %s: %v, %v, %v", name, state, waitErr, err)
		}
		return string(said)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
