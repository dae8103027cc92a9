//go:build linux

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// envRequire makes a test fail whose program is missing.
const envRequire = "GRACE_REQUIRE_E2E"

// program returns the path of a program of a Debian package.
func program(t *testing.T, name, pkg string) (path string) {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} { // which not every PATH has
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	if os.Getenv(envRequire) != "" {
		t.Fatalf("%s is missing: apt-get install %s", name, pkg)
	}
	t.Skipf("%s is missing: apt-get install %s", name, pkg)
	return ""
}

// child is a program that a test has started.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *os.File      // its standard output: writing to a file never blocks
	errors bytes.Buffer  // its standard error; complete when it has ended
	ended  chan struct{} // closed when it has ended
	err    error         // how it has ended; set before
}

func run(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, out: out, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, &c.errors
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program
		c.err = cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() { // after a success, it has ended
		defer out.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM) // ends its own children too
		defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
		<-c.ended
	})
	return c
}

// end sends a signal, and waits for the program to end.
func (c *child) end(sig syscall.Signal) (output string) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Errorf("%s has ended by itself: %v", c.cmd, err)
	}
	return c.wait(sig)
}

// wait waits for the program to end, with success or by one of the signals, and returns its output.
func (c *child) wait(signals ...syscall.Signal) (output string) {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatalf("%s does not end", c.cmd)
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if c.err != nil && !slices.Contains(signals, status.Signal()) {
		c.t.Errorf("%s: %v\n%s", c.cmd, c.err, c.errors.String())
	}
	out, err := os.ReadFile(c.out.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	return string(out)
}
