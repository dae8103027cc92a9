//go:build unix

package fds

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperEnv names the helper that this binary is to be instead of a run of the tests. Descriptors are inherited from the
// number 3 on, so what a process makes of them can only be seen in a process that was started with them.
const helperEnv = "GRACE_FDS_TEST_HELPER"

var (
	helpers    = map[string]func() error{}
	helperUsed sync.Map
)

// registerHelper is called by the init function of the file that uses the helper.
func registerHelper(name string, run func() error) { helpers[name] = run }

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(runHelper(name))
	}
	hideStrayDescriptors()
	before := openDescriptors()
	code := m.Run()
	if code == 0 && !fuzzing() {
		if err := errors.Join(unusedHelpers(), leftOver(before)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func runHelper(name string) int {
	_ = os.Unsetenv(helperEnv)
	run := helpers[name]
	if run == nil {
		fmt.Fprintf(os.Stderr, "there is no helper %q\n", name)
		return 2
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", name, err)
		return 1
	}
	return 0
}

// hideStrayDescriptors keeps descriptors that leaked into the tests from whoever started them out of the helpers, and opens
// those of the runtime's poller, so that they do not count as leaked.
func hideStrayDescriptors() {
	for fd := range openDescriptors() {
		if fd >= First {
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
	for fd := range 8192 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open[fd] = true
		}
	}
	return open
}

// leftOver tells what the tests have left. Goroutines come first: some close a descriptor at their end.
func leftOver(before map[int]bool) error {
	errs := []error{goleak.Find()}
	for fd := range openDescriptors() {
		if !before[fd] {
			errs = append(errs, fmt.Errorf("descriptor %d is left open: %s", fd, inspect(fd)))
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		errs = append(errs, fmt.Errorf("a child process is left (wait4: %v)", err))
	}
	return errors.Join(errs...)
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

func fuzzing() bool { return isSet("test.fuzz") || isSet("test.fuzzworker") }

func isSet(name string) bool {
	f := flag.Lookup(name)
	return f != nil && f.Value.String() != "" && f.Value.String() != "false"
}

// start says how a helper is started: with these variables and no others.
type start struct {
	helper string
	env    []string
	stdin  *os.File  // nil for none
	files  []uintptr // its descriptors from First on; noFile leaves one closed
}

const noFile = ^uintptr(0)

// helper is a helper that runs.
type helper struct {
	name  string
	proc  *os.Process
	out   *os.File
	timer *time.Timer
}

// run starts a helper. The flags of its files stay as they are, which os/exec does not promise.
func (s start) run(t *testing.T) *helper {
	t.Helper()
	helperUsed.Store(s.helper, true)
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	stdin := noFile
	if s.stdin != nil {
		stdin = s.stdin.Fd()
	}
	// The race detector would sleep for a second at the end of each helper.
	proc, err := startProcess(append([]string{helperEnv + "=" + s.helper, "GORACE=atexit_sleep_ms=0"}, s.env...),
		append([]uintptr{stdin, w.Fd(), 2}, s.files...))
	must(t, err)
	h := &helper{name: s.helper, proc: proc, out: r, timer: time.AfterFunc(time.Minute, func() { _ = proc.Kill() })}
	t.Cleanup(h.end)
	return h
}

// end leaves nothing of a helper whose test has failed.
func (h *helper) end() {
	h.timer.Stop()
	if h.proc != nil {
		_ = h.proc.Kill()
		_, _ = h.proc.Wait()
	}
	_ = h.out.Close()
}

// result waits for the end of the helper, which must be a success, and reads what it printed.
func (h *helper) result(t *testing.T, into any) {
	t.Helper()
	err := json.NewDecoder(h.out).Decode(into)
	state, waitErr := h.proc.Wait()
	h.proc = nil
	if err != nil || waitErr != nil || !state.Success() {
		t.Fatalf("helper %s: %v, %v, %v", h.name, state, waitErr, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
