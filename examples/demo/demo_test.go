//go:build unix

package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// How long a run may take on a machine that is busy with something else.
const (
	runTimeout  = 2 * time.Minute
	goneTimeout = 30 * time.Second // for what is left behind
)

// demo is a running demo. The servers that it starts inherit its standard error: at the end of that, none is left.
type demo struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its standard output
	errs  *os.File
}

// startDemo builds the demo and starts it.
func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	path := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	stdout, out := pipe(t)
	errs, stderr := pipe(t)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = out, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // after a failure; it ends by itself else
	if err := errors.Join(out.Close(), stderr.Close(), stdout.SetReadDeadline(time.Now().Add(runTimeout))); err != nil {
		t.Fatal(err)
	}
	return &demo{cmd: cmd, lines: bufio.NewScanner(stdout), errs: errs}
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

// awaitRow reads the output up to the row of a generation.
func (d *demo) awaitRow(t *testing.T, generation string) {
	t.Helper()
	for d.lines.Scan() {
		if fields := strings.Fields(d.lines.Text()); len(fields) > 0 && fields[0] == generation {
			return
		}
	}
	t.Fatalf("no row for generation %s: %v", generation, d.lines.Err())
}

// end waits for the demo and for all servers that it has started. It returns what is left of its output.
func (d *demo) end(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	var out bytes.Buffer
	for d.lines.Scan() {
		out.WriteString(d.lines.Text() + "\n")
	}
	if err := d.lines.Err(); err != nil {
		t.Fatalf("the demo does not end: %v\n%s", err, out.String())
	}
	err = d.cmd.Wait()
	if err := d.errs.SetReadDeadline(time.Now().Add(goneTimeout)); err != nil {
		t.Fatal(err)
	}
	errs, readErr := io.ReadAll(d.errs)
	if readErr != nil {
		t.Errorf("a server is left behind: %v", readErr)
	}
	return out.String(), string(errs), err
}

func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := startDemo(t, "-upgrades=3", "-pause=150ms").end(t)
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for way, closes := range map[string]bool{"polite": true, "handover": false} {
		line := find(t, stdout, `(?m)^`+way+` +upgrades=3 requests=(\d+) failed=0 reconnects=(\d+) p99=\S+ max=\S+$`)
		if rows, pids, handled := readTable(t, stdout, way); rows != 4 || pids != 4 || handled != line[0] {
			t.Errorf("%s: %d rows with %d processes; %d requests were answered, and %d handled", way, rows, pids, line[0], handled)
		}
		// The load ends with the last drain, so not every client has come back from that.
		if n := line[1]; closes && n <= 2*keepAliveClients || !closes && n > 0 {
			t.Errorf("%s: keep-alive clients have connected anew %d times in 3 upgrades", way, n)
		}
	}
	for _, way := range []string{"shutdown", "stop-and-start"} {
		find(t, stdout, `(?m)^`+way+` +upgrades=3 requests=(\d+) failed=(\d+) `)
		if rows, pids, _ := readTable(t, stdout, way); rows != 4 || pids != 4 {
			t.Errorf("%s: %d rows with %d processes", way, rows, pids)
		}
	}
	if line := find(t, stdout, `(?m)^stop-and-start +upgrades=3 requests=(\d+) failed=(\d+) `); line[1] == 0 {
		t.Error("stop-and-start has not failed: is there a load?")
	}
	if t.Failed() {
		t.Log(stdout)
	}
}

// find gives the numbers in the one line that matches.
func find(t *testing.T, text, pattern string) []int {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
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

// readTable counts rows, different processes, and the requests that these have handled, in the table of a way.
func readTable(t *testing.T, stdout, way string) (rows, pids, requests int) {
	t.Helper()
	_, text, _ := strings.Cut(stdout, "\n"+way+":")
	text, _, _ = strings.Cut(text, "\n\n")
	seen := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^ +\d+ +(\d+) +(\d+) `).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		rows, requests, seen[row[1]] = rows+1, requests+n, true
	}
	return rows, len(seen), requests
}

// TestDemoInterrupted interrupts a demo in the middle.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "-upgrades=10000", "-pause=100ms")
	d.awaitRow(t, "3")
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := d.end(t)
	if d.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr, "interrupt") {
		t.Errorf("after an interrupt: %v: %s", err, stderr)
	}
}

// TestDemoKilled kills a demo, which then cannot end its servers.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "-upgrades=10000", "-pause=100ms")
	d.awaitRow(t, "3")
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.end(t)
	if err == nil {
		t.Error("a killed demo is content")
	}
}

func TestDemoArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-upgrades=0"}, {"-pause=-1s"}, {"more"}, {"serve-polite"}, {"serve-what", anyPort}, {"serve-plain", anyPort, "one"}} {
		if _, stderr, err := startDemo(t, args...).end(t); err == nil || stderr == "" {
			t.Errorf("%q: %v: %q", args, err, stderr)
		}
	}
}
