//go:build linux && (amd64 || arm64)

package grace

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/scannertest"
)

// startScanned starts a service whose successors are not executed before the test allows it, and
// asks it for an upgrade.
func startScanned(t *testing.T, request string) (s *service, scan *scannertest.Scanner, upgraded <-chan string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "service")
	copyBinary(t, path)
	s = startFrom(t, path)
	scan = scannertest.Scan(t, path)
	answer, c := make(chan string, 1), s.dial()
	go func() { // ends with the upgrade or the process
		defer c.Close()
		text, err := c.ask(request)
		if err != nil {
			text = err.Error()
		}
		answer <- text
	}()
	<-scan.Asked
	return s, scan, answer
}

// While the kernel opens the program of the successor, the old process serves and collects garbage.
func TestSlowExecutableHoldsNothingUp(t *testing.T) {
	s, scan, upgraded := startScanned(t, "upgrade")
	for range 10 {
		if got := s.ask("collect"); got != "collected" {
			t.Errorf("the service says %q", got)
		}
	}
	scan.Allow()
	if got := <-upgraded; got != "upgraded" {
		t.Errorf("Upgrade returned %q", got)
	}
	s.AwaitReady(2)
}

func TestSlowExecutableIsGivenUp(t *testing.T) {
	s, scan, upgraded := startScanned(t, "upgrade 200ms")
	if got := <-upgraded; !strings.Contains(got, "start") || !strings.Contains(got, "had not opened the program") {
		t.Errorf("Upgrade returned %q", got)
	}
	scan.Allow()
	s.upgrade()
}

// A service can be stopped meanwhile.
func TestSlowExecutableDoesNotDelayTheStop(t *testing.T) {
	s, _, _ := startScanned(t, "upgrade")
	_, pid := s.serving()
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.AwaitExit(pid)
}
