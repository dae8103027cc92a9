//go:build unix

package httpsoak

import (
	"strings"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, Main) }

// Shutdown alone loses requests, and the other modes lose none.
func TestEachMode(t *testing.T) {
	stdout, stderr, err := programtest.Start(t, "-upgrades=8").End()
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if !strings.HasSuffix(stdout, "\nhttpsoak: passed\n") ||
		!strings.Contains(stdout, "\nshutdown is the control, ") {
		t.Errorf("no verdict, or no control:\n%s", stdout)
	}
	for _, m := range modes {
		row := programtest.Find(t, stdout, `^`+m.name+
			` +upgrades=(\d+) requests=(\d+) failed=(\d+) handled=(\d+) of (\d+)`+
			` reconnects: HTTP/1=(\d+) TLS=(\d+) HTTP/2=(\d+) drain: `)
		upgrades, requests, failed, handled, sent := row[0], row[1], row[2], row[3], row[4]
		if upgrades != 8 || requests < 100*upgrades || handled == 0 {
			t.Errorf("%s: %d upgrades, %d requests, %d handled",
				m.name, upgrades, requests, handled)
		}
		if (failed > 0) != m.shutdownOnly || handled != sent && !m.shutdownOnly {
			t.Errorf("%s: %d of %d requests failed, %d of %d were handled",
				m.name, failed, requests, handled, sent)
		}
		for i, reconnects := range row[5:] {
			if (reconnects == 0) != (m.keepsIdle && i == 0) {
				t.Errorf("%s: reconnects %d", m.name, row[5:])
			}
		}
	}
	if t.Failed() {
		t.Log(stdout)
	}
}

func TestOneModeInterrupted(t *testing.T) {
	r := programtest.Start(t, "-upgrades=1000000", "-mode=polite")
	r.AwaitLine("draining")
	r.Signal(syscall.SIGINT)
	stdout, stderr, err := r.End()
	if err != nil || stderr != "" || strings.Contains(stdout, "shutdown") {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	programtest.Find(t, stdout, `^polite +upgrades=(\d+) `)
}

// A soak that is killed cannot end its service, which ends nevertheless.
func TestSoakKilled(t *testing.T) {
	r := programtest.Start(t, "-upgrades=1000000", "-mode=shutdown")
	r.AwaitLine("draining")
	r.Signal(syscall.SIGKILL)
	if _, _, err := r.End(); err == nil {
		t.Error("a killed soak succeeds")
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-upgrades=0"}, {"-copies=-1"}, {"-pause=0"}, {"-mode=rude"}, {"more"}, {"serve"},
		{"serve", "rudely", "dir"},
	} {
		_, stderr, err := programtest.Start(t, args...).End()
		if err == nil || !strings.HasPrefix(stderr, "httpsoak: ") {
			t.Errorf("%q: %v: %q", args, err, stderr)
		}
	}
}
