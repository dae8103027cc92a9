//go:build unix

// Package programtest runs a program in its tests. The test binary is the program too, so the race
// detector watches the program and all generations of its service.
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

// Main runs the program if Start has started this process, and the tests otherwise. It is the body
// of TestMain.
func Main(m *testing.M, program func()) {
	if os.Getenv(envMain) != "" {
		program()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// How long a run may take, on a machine that is busy with something else.
const (
	runTimeout  = 3 * time.Minute
	goneTimeout = 30 * time.Second // until the processes that it started have ended
)

// Run is a running program. The processes that it starts inherit its standard error: at the end of
// that file, none is left.
type Run struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its standard output
	errs  *os.File
}

// Start starts the program with args.
func Start(t *testing.T, args ...string) *Run {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdout, out := pipe(t)
	errs, stderr := pipe(t)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), envMain+"=1", "TMPDIR="+tempDir(t),
		"GORACE=atexit_sleep_ms=0") // otherwise every generation sleeps a second before it exits
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it still runs after a failure
	deadline := time.Now().Add(runTimeout)
	err = errors.Join(out.Close(), stderr.Close(), stdout.SetReadDeadline(deadline))
	if err != nil {
		t.Fatal(err)
	}
	return &Run{t: t, cmd: cmd, lines: bufio.NewScanner(stdout), errs: errs}
}

// tempDir returns a directory for the files that a killed program leaves behind. Its path is short,
// as that of a unix socket must be.
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

// AwaitLine reads the output up to the first line that contains text.
func (r *Run) AwaitLine(text string) {
	r.t.Helper()
	for r.lines.Scan() {
		if strings.Contains(r.lines.Text(), text) {
			return
		}
	}
	r.t.Fatalf("no line with %q: %v", text, r.lines.Err())
}

// Signal sends a signal to the program.
func (r *Run) Signal(sig os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// End waits for the program and all processes that it started. It returns the rest of its output,
// and the error with which it ended.
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

// Find returns the numbers that the groups of pattern match, in the first line that matches.
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
