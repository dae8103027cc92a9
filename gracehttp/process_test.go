//go:build linux

package gracehttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// If the server of a successor fails, the old process keeps serving.
func TestServerThatFailsInASuccessor(t *testing.T) {
	t.Parallel()
	next := filepath.Join(t.TempDir(), "next")
	s := start(t, config{Next: next, Grace: loadGrace})
	l := startLoad(s)
	if err := os.WriteFile(next, []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	failed := s.Await("failed upgrade", func(l said) bool {
		return l.What == "UpgradeFinished" && l.Err != ""
	})
	if !strings.Contains(failed.Err, "the network is broken") {
		t.Errorf("the upgrade failed with %s", failed.Err)
	}
	if err := os.Remove(next); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
	if seen := l.Stop(); seen.Requests == 0 || seen.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", seen.Failed, seen.Requests, seen.Failures)
	}
	s.stop()
}

// If a successor that calls ListenAndServe cannot listen, or has no certificate, the old process
// learns why, and keeps serving.
func TestListenAndServeFailsInASuccessor(t *testing.T) {
	t.Parallel()
	next := filepath.Join(t.TempDir(), "next")
	s := start(t, config{Next: next})
	for kind, reason := range map[string]string{
		"no address":     badAddr,
		"no certificate": "gracehttp: load the certificate",
	} {
		if err := os.WriteFile(next, []byte(kind), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Signal(syscall.SIGHUP)
		s.Await("upgrade that fails because of "+kind, func(l said) bool {
			return l.What == "UpgradeFinished" && strings.Contains(l.Err, reason)
		})
	}
	if who, _ := s.connect().get("/who"); who != "1" {
		t.Errorf("process %s serves", who)
	}
	s.stop()
}

// raw opens a connection and sends a request.
func raw(t *testing.T, addr, path string) (*bufio.Reader, io.Writer) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(c), c
}

// Streams and hijacked connections learn that the drain begins, and the drain waits for them.
func TestStreamsAndHijackedConnectionsLearnOfTheDrain(t *testing.T) {
	t.Parallel()
	s := start(t, config{Timeout: 2 * testGrace})
	answer, _ := raw(t, s.plain, "/events")
	stream, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines, writer := raw(t, s.plain, "/hijack")
	other, _ := raw(t, s.plain, "/hijack")
	for range 4 { // up to the end of the header
		for _, r := range []*bufio.Reader{lines, other} {
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.upgrade()
	body, err := io.ReadAll(stream.Body)
	if err != nil || string(body) != "data: hello\ndata: draining <nil>\n" {
		t.Errorf("the stream ended with %q, %v", body, err)
	}
	for _, r := range []*bufio.Reader{lines, other} {
		if line, err := r.ReadString('\n'); line != "draining\n" || err != nil {
			t.Errorf("a hijacked connection hears %q, %v", line, err)
		}
	}
	if _, err := io.WriteString(writer, "thanks\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); line != "bye\n" || err != nil {
		t.Errorf("it ends with %q, %v", line, err)
	}
	if r := s.awaitReport(1); r.Cut != 1 || r.Closed != 2 {
		t.Errorf("one connection is open at the deadline, and two have ended: %+v", r)
	}
	end := s.Await("end of the drain", func(l said) bool {
		return l.What == "DrainFinished" && l.Generation == 1
	})
	if left := s.awaitLeft(1); end.Cut > 0 || end.Err != "" || left.Err != "" {
		t.Errorf("the Manager reports %+v, and Run returned %q", end, left.Err)
	}
	s.stop()
}

// After an upgrade there is no stop delay.
func TestNoStopDelayAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	s := start(t, config{Delay: time.Hour, Timeout: 2 * time.Hour})
	idle, _ := raw(t, s.plain, "/echo")
	resp, err := http.ReadResponse(idle, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	s.upgrade()
	if r := s.awaitReport(1); r.Cut != 0 || r.Closed != 1 {
		t.Errorf("%+v", r)
	}
	s.awaitLeft(1)
	s.Signal(syscall.SIGKILL) // the new process would stop in an hour
}

// A server of an old process stops accepting, and drains, however long another part of the service
// takes.
func TestSlowHookDoesNotHoldUpTheServer(t *testing.T) {
	t.Parallel()
	hold := filepath.Join(t.TempDir(), "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, config{Hold: hold})
	s.connect().get("/who")
	s.upgrade()
	s.awaitDraining(1)
	for row, end := 0, time.Now().Add(patience); row < 30; row++ { // so many are not an accident
		c := s.connect()
		if who, _ := c.get("/who"); who != "2" {
			row = -1
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("the old process keeps accepting")
		}
	}
	s.awaitReport(1)
	if s.has(func(l said) bool { return l.What == "DrainFinished" }) {
		t.Fatal("the drain has not waited for the hook")
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	s.awaitLeft(1)
	s.stop()
}

// Readiness is denied as soon as the service stops, on new connections too. It is confirmed in an
// old process whose successor serves.
func TestReadinessOverAnUpgradeAndAStop(t *testing.T) {
	t.Parallel()
	s := start(t, config{Delay: time.Hour, Timeout: 2 * time.Hour})
	url := "http://" + s.plain + "/ready"
	c := &http.Client{Timeout: patience}
	defer c.CloseIdleConnections()
	status := func() int {
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(); got != http.StatusOK {
		t.Errorf("status %d before the upgrade", got)
	}
	s.upgrade()
	if got := status(); got != http.StatusOK { // of the old process, on the connection that is kept
		t.Errorf("status %d in the old process", got)
	}
	s.awaitReport(1)
	if got := status(); got != http.StatusOK {
		t.Errorf("status %d in the new process", got)
	}
	s.Signal(syscall.SIGTERM)
	eventually(t, "not ready", func() bool { return status() != http.StatusOK })
	c.CloseIdleConnections()
	if got := status(); got != http.StatusServiceUnavailable { // on a new connection
		t.Errorf("status %d during the delay", got)
	}
	s.awaitLeft(1)
	s.Signal(syscall.SIGKILL) // the new process would stop in an hour
}
