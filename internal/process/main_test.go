//go:build unix

package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperEnv names the helper that this binary is to be instead of a run of the tests.
const helperEnv = "GRACE_PROCESS_TEST_HELPER"

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
	if code == 0 {
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

// helperSpec is this binary as one of the helpers. Its standard input is empty, and its output that of the tests.
func helperSpec(t *testing.T, name string, args ...string) Spec {
	t.Helper()
	helperUsed.Store(name, true)
	self, err := os.Executable()
	must(t, err)
	null, err := os.Open(os.DevNull)
	must(t, err)
	t.Cleanup(func() { _ = null.Close() })
	return Spec{
		Path: self, Args: append([]string{self}, args...), Files: []uintptr{null.Fd(), 1, 2},
		Env: []string{helperEnv + "=" + name, "GORACE=atexit_sleep_ms=0"},
	}
}

// start starts a process that does not outlive the test.
func startChild(t *testing.T, spec Spec) *Child {
	t.Helper()
	c, err := Start(context.Background(), spec)
	must(t, err)
	t.Cleanup(func() {
		_ = c.Kill()
		<-c.Exited()
	})
	return c
}

// outputOf starts a process and gives what it prints until its end.
func outputOf(t *testing.T, spec Spec) string {
	t.Helper()
	r, w := pipe(t)
	spec.Files[1] = w.Fd()
	c := startChild(t, spec)
	must(t, w.Close())
	said, err := io.ReadAll(r)
	must(t, err)
	if got := c.State(); got != "exit status 0" {
		t.Fatalf("%s: %s", spec.Path, got)
	}
	return string(said)
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// closes waits for a channel that another process is about to close.
func closes(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain: %s", what)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// eventually waits for a condition that another goroutine or process brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
