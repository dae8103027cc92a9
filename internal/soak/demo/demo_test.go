//go:build unix

package demo

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, Main) }

func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := programtest.Start(t, "-upgrades=3", "-pause=150ms").End()
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for way, closes := range map[string]bool{"polite": true, "handover": false} {
		line := programtest.Find(t, stdout, `^`+way+
			` +upgrades=3 requests=(\d+) failed=0 reconnects=(\d+)\n +p99=\S+ max=\S+$`)
		rows, pids, handled := readTable(t, stdout, way)
		if rows != 4 || pids != 4 || handled != line[0] {
			t.Errorf("%s: %d rows with %d processes; %d requests answered, and %d handled",
				way, rows, pids, line[0], handled)
		}
		// The load ends with the last drain: not every client has reconnected after it.
		if n := line[1]; closes && n <= 2*keepAliveClients || !closes && n > 0 {
			t.Errorf("%s: keep-alive clients reconnected %d times in 3 upgrades", way, n)
		}
	}
	for _, way := range []string{"shutdown", "stop-and-start"} {
		line := programtest.Find(t, stdout, `^`+way+` +upgrades=3 requests=(\d+) failed=(\d+) `)
		if rows, pids, _ := readTable(t, stdout, way); rows != 4 || pids != 4 {
			t.Errorf("%s: %d rows with %d processes", way, rows, pids)
		}
		if way == "stop-and-start" && line[1] == 0 {
			t.Error("stop-and-start did not fail: is there a load?")
		}
	}
	for line := range strings.Lines(stdout) {
		if len(line) > 81 {
			t.Errorf("wider than 80 columns: %q", line)
		}
	}
	if t.Failed() {
		t.Log(stdout)
	}
}

// readTable counts the rows, the processes and the requests in the table of a way.
func readTable(t *testing.T, stdout, way string) (rows, pids, requests int) {
	t.Helper()
	_, text, _ := strings.Cut(stdout, "\n"+way+":")
	text, _, _ = strings.Cut(text, "\n\n")
	seen := make(map[string]bool)
	pattern := regexp.MustCompile(`(?m)^ +\d+ +(\d+) +(\d+) `)
	for _, row := range pattern.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		rows, requests, seen[row[1]] = rows+1, requests+n, true
	}
	return rows, len(seen), requests
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	d := programtest.Start(t, "-upgrades=10000", "-pause=100ms")
	d.AwaitLine("         3 ")
	d.Signal(syscall.SIGINT)
	_, stderr, err := d.End()
	if err == nil || !strings.HasPrefix(stderr, "demo: ") ||
		!strings.Contains(stderr, "interrupt") {
		t.Errorf("after an interrupt: %v: %s", err, stderr)
	}
}

// A demo that is killed cannot end its servers, which end nevertheless.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	d := programtest.Start(t, "-upgrades=10000", "-pause=100ms")
	d.AwaitLine("         3 ")
	d.Signal(syscall.SIGKILL)
	if _, _, err := d.End(); err == nil {
		t.Error("a killed demo succeeds")
	}
}

func TestDemoArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-upgrades=0"}, {"-pause=-1s"}, {"more"},
		{"serve", "polite"}, {"serve", "rudely", anyPort}, {"serve", "plain", anyPort, "one"},
	} {
		_, stderr, err := programtest.Start(t, args...).End()
		if err == nil || !strings.HasPrefix(stderr, "demo: ") {
			t.Errorf("%q: %v: %q", args, err, stderr)
		}
	}
}
