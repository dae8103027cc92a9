//go:build unix

// Package helpertest is for tests that start the test binary itself as a helper, because what they
// are about can only be seen in a process of its own. It also sees to it that tests leave nothing
// behind.
package helpertest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Env is the variable that makes the test binary a helper, whose name it has.
const Env = "GRACE_HELPERTEST"

var (
	helpers = map[string]func() error{}
	used    sync.Map
)

// Register is called by the init function of the file that uses the helper.
func Register(name string, run func() error) { helpers[name] = run }

// Use says that a test starts a helper, and returns the environment for it. One that no test uses
// is an error.
func Use(name string) (env []string) {
	used.Store(name, true)
	// The race detector would have it sleep for a second at its end.
	return []string{Env + "=" + name, "GORACE=atexit_sleep_ms=0"}
}

// Hang blocks until the process is ended. A program without cgo that does nothing else would take
// an empty select for a deadlock.
func Hang() {
	for {
		time.Sleep(time.Hour)
	}
}

// Main is the TestMain of a package. It looks for descriptors and processes that are left over, and
// has goroutines look for those.
func Main(m *testing.M, goroutines func() error) {
	if name := os.Getenv(Env); name != "" {
		os.Exit(run(name))
	}
	hideStrayDescriptors()
	before := OpenDescriptors()
	code := m.Run()
	if code == 0 && !isSet("test.fuzz") && !isSet("test.fuzzworker") {
		// Goroutines come first: some close a descriptor at their end.
		if err := errors.Join(unused(), goroutines(), leftOver(before)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func run(name string) (code int) {
	helper := helpers[name]
	if helper == nil {
		helper = func() error { return errors.New("there is none of this name") }
	}
	if err := helper(); err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", name, err)
		return 1
	}
	return 0
}

// hideStrayDescriptors keeps descriptors that leaked into the tests from whoever started them out
// of the helpers, and opens those of the runtime's poller, so that they do not count as leaked.
func hideStrayDescriptors() {
	for fd := range OpenDescriptors() {
		if fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	if r, w, err := os.Pipe(); err == nil {
		_, _ = r.Close(), w.Close()
	}
}

// OpenDescriptors is the census of what this process has open.
func OpenDescriptors() map[int]bool {
	open := make(map[int]bool)
	for fd := range 8192 {
		if IsOpen(fd) {
			open[fd] = true
		}
	}
	return open
}

// IsOpen reports whether a descriptor is open.
func IsOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

func leftOver(before map[int]bool) error {
	var errs []error
	for fd := range OpenDescriptors() {
		if !before[fd] {
			what, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) // on Linux
			errs = append(errs, fmt.Errorf("descriptor %d is left open: %s", fd, what))
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		errs = append(errs, errors.New("a child process is left"))
	}
	return errors.Join(errs...)
}

// unused looks for helpers that no test has used, if all tests have run.
func unused() error {
	if isSet("test.run") || isSet("test.skip") || isSet("test.list") || isSet("test.bench") {
		return nil
	}
	var errs []error
	for name := range helpers {
		if _, ok := used.Load(name); !ok {
			errs = append(errs, fmt.Errorf("no test uses the helper %q", name))
		}
	}
	return errors.Join(errs...)
}

func isSet(name string) bool {
	f := flag.Lookup(name)
	return f != nil && f.Value.String() != "" && f.Value.String() != "false"
}

// Eventually waits for a condition that another goroutine or process brings about.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// OpenFile opens a file for reading until the end of the test.
func OpenFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
