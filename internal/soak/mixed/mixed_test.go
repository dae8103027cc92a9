//go:build unix

package mixed

import (
	"strings"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, Main) }

// TestSoak is a short soak. A long one is started by hand: go run ./examples/soak
func TestSoak(t *testing.T) {
	t.Parallel()
	const upgrades, clients = 10, 3
	stdout, stderr, err := programtest.Start(t, "-upgrades=10", "-clients=3", "-stream=2s").End()
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for _, kind := range []string{
		"tcp keep-alive", "tcp per request", "unix keep-alive", "unix per request", "udp",
	} {
		row := programtest.Find(t, stdout, `^`+kind+` +(\d+) +(\d+) +(\d+) `)
		requests, failed, conns := row[0], row[1], row[2]
		if requests < upgrades || failed > 0 {
			t.Errorf("%s: %d of %d requests failed", kind, failed, requests)
		}
		if strings.HasSuffix(kind, "keep-alive") && (conns <= upgrades || conns >= requests) {
			t.Errorf("%s: %d connections for %d requests and %d upgrades",
				kind, conns, requests, upgrades)
		}
		if strings.HasSuffix(kind, "per request") && conns != requests {
			t.Errorf("%s: %d connections for %d requests", kind, conns, requests)
		}
	}
	checkOutcome(t, stdout, upgrades)
	if t.Failed() {
		t.Log(stdout)
	}
}

// checkOutcome expects upgrades without failures, streams that outlived some, and no growth.
func checkOutcome(t *testing.T, stdout string, upgrades int) {
	t.Helper()
	row := programtest.Find(t, stdout, `^stream +(\d+) +(\d+) .* (\d+)$`)
	if row[0] < 2*(lineage.MaxDraining-1) || row[1] > 0 || row[2] < 1 {
		t.Errorf("%d of %d streams failed, the longest outlived %d upgrades",
			row[1], row[0], row[2])
	}
	row = programtest.Find(t, stdout, `^(\d+) upgrades in .*, (\d+) failed$`)
	if row[0] != upgrades || row[1] > 0 {
		t.Errorf("%d upgrades, and %d that failed", row[0], row[1])
	}
	row = programtest.Find(t, stdout, `^  generations alive +(\d+) +(\d+)$`)
	if row[0] != 1 || row[1] != 1 {
		t.Errorf("%d generations without load, and at the end %d", row[0], row[1])
	}
	row = programtest.Find(t, stdout, `^  goroutines +(\d+) +(\d+)$`)
	if row[0] < 1 || row[0] != row[1] {
		t.Errorf("%d goroutines, and at the end %d", row[0], row[1])
	}
}

// With -for, the time counts, and not the number of upgrades.
func TestSoakForAWhile(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, "-for=100ms", "-upgrades=1000000", "-clients=1", "-stream=200ms")
	stdout, stderr, err := r.End()
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if n := programtest.Find(t, stdout, `^(\d+) upgrades`)[0]; n <= lineage.WarmUps {
		t.Errorf("only %d upgrades", n)
	}
}

func TestSoakInterrupted(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, "-for=1000h", "-clients=1", "-stream=200ms")
	r.AwaitLine("draining")
	r.Signal(syscall.SIGINT)
	stdout, stderr, err := r.End()
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	programtest.Find(t, stdout, `^census `)
}

// A soak that is killed cannot end its service, which ends nevertheless.
func TestSoakKilled(t *testing.T) {
	t.Parallel()
	r := programtest.Start(t, "-for=1000h", "-clients=1", "-stream=200ms")
	r.AwaitLine("draining")
	r.Signal(syscall.SIGKILL)
	if _, _, err := r.End(); err == nil {
		t.Error("a killed soak succeeds")
	}
}

func TestSoakArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-upgrades=0"}, {"-clients=-1"}, {"-streams=0"}, {"-pause=0"}, {"-for=-1s"},
		{"-stream=1ms"}, {"more"}, {"serve"}, {"serve", "dir", "soon"},
	} {
		_, stderr, err := programtest.Start(t, args...).End()
		if err == nil || !strings.HasPrefix(stderr, "soak: ") {
			t.Errorf("%q: %v: %q", args, err, stderr)
		}
	}
}
