//go:build unix

// Package programtest runs a program in its tests. The test binary is the program too, so the race detector watches the program and all
// generations of its service wherever it watches the tests.
package programtest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// envMain makes the test binary the program.
const envMain = "GRACE_PROGRAM_MAIN"

// Main is the TestMain of a program.
func Main(m *testing.M, program func()) {
	if os.Getenv(envMain) != "" {
		program()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// How long a run may take on a machine that is busy with something else.
const (
	runTimeout  = 3 * time.Minute
	goneTimeout = 30 * time.Second // for what is left behind
)

// Run is a running program. The processes that it starts inherit its standard error: at the end of that, none is left.
type Run struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its standard output
	errs  *os.File
}

// Start runs the program with arguments.
func Start(t *testing.T, args ...string) *Run {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdout, out := pipe(t)
	errs, stderr := pipe(t)
	cmd := exec.Command(self, args...)
	// The race detector would have every generation sleep for a second before it exits.
	cmd.Env = append(os.Environ(), envMain+"=1", "GORACE=atexit_sleep_ms=0", "TMPDIR="+tempDir(t))
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // after a failure; it ends by itself else
	if err := errors.Join(out.Close(), stderr.Close(), stdout.SetReadDeadline(time.Now().Add(runTimeout))); err != nil {
		t.Fatal(err)
	}
	return &Run{t: t, cmd: cmd, lines: bufio.NewScanner(stdout), errs: errs}
}

// tempDir is for what a killed program leaves. Its path is short, as that of a unix socket must be.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "program")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, w
}

// AwaitLine reads the output up to the first line with a text.
func (r *Run) AwaitLine(text string) {
	r.t.Helper()
	for r.lines.Scan() {
		if strings.Contains(r.lines.Text(), text) {
			return
		}
	}
	r.t.Fatalf("no line with %s: %v", text, r.lines.Err())
}

// Signal sends a signal to the program.
func (r *Run) Signal(sig os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// End waits for the program and for all that it has started. It returns what is left of its output, and how it has ended.
func (r *Run) End() (stdout, stderr string, err error) {
	r.t.Helper()
	var out bytes.Buffer
	for r.lines.Scan() {
		out.WriteString(r.lines.Text() + "\n")
	}
	if err := r.lines.Err(); err != nil {
		r.t.Fatalf("the program does not end: %v\n%s", err, out.String())
	}
	err = r.cmd.Wait()
	if err := r.errs.SetReadDeadline(time.Now().Add(goneTimeout)); err != nil {
		r.t.Fatal(err)
	}
	errs, readErr := io.ReadAll(r.errs)
	if readErr != nil {
		r.t.Errorf("a process is left behind: %v", readErr)
	}
	return out.String(), string(errs), err
}

// Find gives the numbers in the one line that matches.
func Find(t *testing.T, text, pattern string) []int {
	t.Helper()
	found := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no line like %s in\n%s", pattern, text)
	}
	var numbers []int
	for _, s := range found[1:] {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}
