//go:build linux

package gracehttp

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const askWho = "GET /who HTTP/1.1\r\nHost: test\r\n\r\n"

// An idle connection survives three upgrades without a request in between, and another one after
// that.
func TestIdleConnectionOverUpgrades(t *testing.T) {
	t.Parallel()
	s := start(t, config{Idle: true})
	plain, local, old := s.connect(), s.dialers()["unix"](), s.connect()
	ask := func(generation int) {
		t.Helper()
		for c, request := range map[*connection]string{
			plain: askWho, local: askWho,
			old: "GET /who HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		} {
			c.send(request)
			if who, last := c.read(); who != fmt.Sprint(generation) || last {
				t.Errorf("process %s answered on %s, last: %v", who, c.LocalAddr(), last)
			}
		}
	}
	ask(1)
	for n := range 3 {
		s.upgrade()
		s.awaitTransferred(n+1, 3)
	}
	ask(4)
	s.upgrade()
	s.awaitTransferred(4, 3)
	ask(5)
	for _, c := range []*connection{plain, local, old} {
		c.Close()
	}
	s.stop()
}

// The time for which a connection may be idle does not end with the process. It keeps running in
// the next one: see TestTimeThatIsLeft.
func TestIdleTimeoutOverAnUpgrade(t *testing.T) {
	t.Parallel()
	const timeout = 10 * time.Second // much more than the upgrade takes
	s := start(t, config{Idle: true, IdleTime: timeout})
	c := s.connect()
	asked := time.Now() // it is idle from some later moment on
	c.get("/who")
	s.upgrade()
	s.awaitTransferred(1, 1)
	c.end()
	if took := time.Since(asked); took < timeout {
		t.Errorf("it was closed after %v", took)
	}
}

// The old process serves the connections that the successor does not take. When it knows that they
// stay, it tells their clients to connect again.
func TestSuccessorThatTakesNothing(t *testing.T) {
	t.Parallel()
	next := filepath.Join(t.TempDir(), "next")
	s := start(t, config{Idle: true, Next: next, Grace: patience})
	if err := os.WriteFile(next, []byte("plain"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, idle := s.connect(), s.connect()
	idle.get("/who")
	s.upgrade()
	for name, c := range map[string]*connection{"fresh": fresh, "idle": idle} {
		for last := false; !last; { // it is offered to the successor only when it is idle
			var who string
			if who, last = c.get("/who"); who != "1" {
				t.Errorf("%s: process %s answered", name, who)
			}
		}
		c.end()
		if who, _ := s.connect().get("/who"); who != "2" {
			t.Errorf("process %s answered on a new connection", who)
		}
	}
	if r := s.awaitReport(1); r.Transferred+r.Cut > 0 || r.Closed != 2 {
		t.Errorf("%+v", r)
	}
}

// A connection with a part of a request stays until that is answered. One that always has a part of
// the next request is closed politely after the grace period.
func TestConnectionWithAPartOfARequest(t *testing.T) {
	t.Parallel()
	s := start(t, config{Idle: true, Grace: time.Second / 2, Timeout: 2 * patience})
	const cut = len("GET /who HT")
	once, always := s.connect(), s.connect()
	for _, c := range []*connection{once, always} {
		c.send(askWho + askWho[:cut])
		c.read()
	}
	s.upgrade()
	s.awaitDraining(1)
	once.send(askWho[cut:])
	if who, last := once.read(); who != "1" || last {
		t.Errorf("process %s answered, last: %v", who, last)
	}
	for closed := false; !closed; {
		var who string
		always.send(askWho[cut:] + askWho[:cut])
		if who, closed = always.read(); who != "1" {
			t.Errorf("process %s answered on the other connection", who)
		}
	}
	always.Close()
	if r := s.awaitReport(1); r.Transferred != 1 || r.Closed != 1 || r.Cut > 0 {
		t.Errorf("%+v", r)
	}
	if who, last := once.get("/who"); who != "2" || last {
		t.Errorf("after that, process %s answered, last: %v", who, last)
	}
	once.Close()
	s.stop()
}

// A hijacked connection stays.
func TestHijackedConnectionStays(t *testing.T) {
	t.Parallel()
	s := start(t, config{Idle: true})
	c := s.connect()
	c.send("GET /hijack HTTP/1.1\r\nHost: test\r\n\r\n")
	c.expect("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
	s.upgrade()
	c.expect("draining\n")
	c.send("thanks\n")
	c.expect("bye\n")
	c.end()
	if r := s.awaitReport(1); r.Transferred+r.Cut > 0 || r.Closed != 1 {
		t.Errorf("%+v", r)
	}
	s.stop()
}

// expect reads a text.
func (c *connection) expect(text string) {
	c.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c.reader, got); err != nil || string(got) != text {
		c.t.Fatalf("%q and %v instead of %q", got, err, text)
	}
}
