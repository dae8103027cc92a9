//go:build unix

package main

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
	"syscall"
	"testing"
	"time"
)

// envMain makes the test binary the program itself: so the soak and all generations of its service run with the race detector
// where the tests do.
const envMain = "SOAK_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// How long a run may take on a machine that is busy with something else.
const (
	runTimeout  = 3 * time.Minute
	goneTimeout = 30 * time.Second // for what is left behind
)

// run is a running soak. The processes that it starts inherit its standard error: at the end of that, none is left.
type run struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its standard output
	errs  *os.File
}

func startSoak(t *testing.T, args ...string) *run {
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
	return &run{cmd: cmd, lines: bufio.NewScanner(stdout), errs: errs}
}

// tempDir is for what a killed soak leaves. Its path is short, as that of a unix socket must be.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "soak")
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

// awaitProgress reads the output up to the first line of progress.
func (r *run) awaitProgress(t *testing.T) {
	t.Helper()
	for r.lines.Scan() {
		if strings.Contains(r.lines.Text(), "draining") {
			return
		}
	}
	t.Fatalf("no progress: %v", r.lines.Err())
}

// end waits for the soak and for all generations of its service. It returns what is left of its output.
func (r *run) end(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	var out bytes.Buffer
	for r.lines.Scan() {
		out.WriteString(r.lines.Text() + "\n")
	}
	if err := r.lines.Err(); err != nil {
		t.Fatalf("the soak does not end: %v\n%s", err, out.String())
	}
	err = r.cmd.Wait()
	if err := r.errs.SetReadDeadline(time.Now().Add(goneTimeout)); err != nil {
		t.Fatal(err)
	}
	errs, readErr := io.ReadAll(r.errs)
	if readErr != nil {
		t.Errorf("a process is left behind: %v", readErr)
	}
	return out.String(), string(errs), err
}

// find gives the numbers in the one line that matches.
func find(t *testing.T, text, pattern string) []int {
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

// TestSoak is a short soak. The one that deserves the name is started by hand: go run ./examples/soak
func TestSoak(t *testing.T) {
	t.Parallel()
	const upgrades, clients = 10, 3
	stdout, stderr, err := startSoak(t, "-upgrades=10", "-clients=3", "-stream=2s").end(t)
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for _, kind := range []string{"tcp keep-alive", "tcp per request", "unix keep-alive", "unix per request", "udp"} {
		row := find(t, stdout, `^`+kind+` +(\d+) +(\d+) +(\d+) `)
		requests, failed, conns := row[0], row[1], row[2]
		if requests < upgrades || failed > 0 {
			t.Errorf("%s: %d of %d requests failed", kind, failed, requests)
		}
		if strings.HasSuffix(kind, "keep-alive") && (conns <= upgrades || conns >= requests) {
			t.Errorf("%s: %d connections for %d requests and %d upgrades", kind, conns, requests, upgrades)
		}
		if strings.HasSuffix(kind, "per request") && conns != requests {
			t.Errorf("%s: %d connections for %d requests", kind, conns, requests)
		}
	}
	if row := find(t, stdout, `^stream +(\d+) +(\d+) .* (\d+)$`); row[0] < 2*(maxDraining-1) || row[1] > 0 || row[2] < 1 {
		t.Errorf("%d of %d streams failed, the longest lived through %d upgrades", row[1], row[0], row[2])
	}
	if row := find(t, stdout, `^(\d+) upgrades in .*, (\d+) failed$`); row[0] != warmUps+upgrades || row[1] > 0 {
		t.Errorf("%d upgrades, and %d that failed", row[0], row[1])
	}
	if row := find(t, stdout, `^  generations alive +(\d+) +(\d+)$`); row[0] != 1 || row[1] != 1 {
		t.Errorf("%d generations without load, and at the end %d", row[0], row[1])
	}
	if row := find(t, stdout, `^  goroutines +(\d+) +(\d+)$`); row[0] < 1 || row[0] != row[1] {
		t.Errorf("%d goroutines, and at the end %d", row[0], row[1])
	}
	if t.Failed() {
		t.Log(stdout)
	}
}

// TestSoakForAWhile sees that the time counts, and not the number of upgrades.
func TestSoakForAWhile(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := startSoak(t, "-for=100ms", "-upgrades=1000000", "-clients=1", "-stream=200ms").end(t)
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if n := find(t, stdout, `^(\d+) upgrades`)[0]; n <= warmUps {
		t.Errorf("only %d upgrades", n)
	}
}

func TestSoakInterrupted(t *testing.T) {
	t.Parallel()
	r := startSoak(t, "-for=1000h", "-clients=1", "-stream=200ms")
	r.awaitProgress(t)
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := r.end(t)
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	find(t, stdout, `^census `)
}

// TestSoakKilled kills a soak, which then cannot end its service.
func TestSoakKilled(t *testing.T) {
	t.Parallel()
	r := startSoak(t, "-for=1000h", "-clients=1", "-stream=200ms")
	r.awaitProgress(t)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.end(t); err == nil {
		t.Error("a killed soak is content")
	}
}

func TestSoakArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-upgrades=0"}, {"-clients=-1"}, {"-streams=0"}, {"-pause=0"}, {"-for=-1s"}, {"-stream=1ms"}, {"more"}, {"serve"}, {"serve", "dir", "soon"},
	} {
		if _, stderr, err := startSoak(t, args...).end(t); err == nil || !strings.HasPrefix(stderr, "soak: ") {
			t.Errorf("%q: %v: %q", args, err, stderr)
		}
	}
}
