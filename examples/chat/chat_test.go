//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// Twenty people talk through ten upgrades. Each hears every message once, in the same order, over a
// single connection.
func TestNobodyNoticesUpgrades(t *testing.T) {
	s := start(t)
	talk := startTalk(t, s, 20)
	for range 5 {
		talk.awaitAll(t)
		n, _ := s.Newest()
		s.Upgrade()
		s.Upgrade() // at once: some clients still come from the previous process
		s.awaitDrained(n)
		s.awaitDrained(n + 1)
		talk.pauseAgain()
	}
	talk.end(t)

	s.Signal(syscall.SIGTERM)
	for _, p := range talk.people {
		if err := p.awaitClose(ws.StatusGoingAway); err != nil {
			t.Error(err)
		}
	}
	s.AwaitCleanEnd()
}

// Another program, which does not handle the connections, is installed in place of the chat, and
// serves after the upgrade.
func TestSuccessorThatTakesNoClients(t *testing.T) {
	s := start(t)
	people := []*person{meet(t, s, "anna"), meet(t, s, "otto")}
	other := filepath.Join(t.TempDir(), "http")
	const pkg = "github.com/go-grace/grace/examples/http"
	if out, err := exec.Command("go", "build", "-o", other, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := whole(people[0], nil); err != nil {
		t.Fatal(err)
	}
	s.replace(t, other)
	pid := s.Upgrade()
	for _, p := range people {
		if err := p.awaitClose(statusServiceRestart); err != nil {
			t.Error(err)
		}
		if len(p.heard) != 1 {
			t.Errorf("%s heard %q", p.nick, p.heard)
		}
	}
	s.awaitDrained(1)
	if body := get(t, "http://"+s.addr+"/"); body != fmt.Sprintf("process %d\n", pid) {
		t.Errorf("the other program answers %q", body)
	}
}

func TestPage(t *testing.T) {
	s := start(t)
	if body := get(t, "http://"+s.addr+"/"); !strings.Contains(body, "new WebSocket(") {
		t.Errorf("the page is %q", body)
	}
	for _, nick := range []string{"", strings.Repeat("n", maxNick+1), "\xff"} {
		if _, err := dial(s.addr, nick); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("nick %q: %v", nick, err)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// longest is the longest text that is allowed.
var longest = strings.Repeat("x", maxText)

var violations = map[string]struct {
	frames []byte
	code   ws.StatusCode
}{
	"long frame": {frame(ws.OpText, true, longest+"x"), ws.StatusMessageTooBig},
	"huge frame": {
		append([]byte{0x81, 0xff, 0, 0, 0, 0, 0x7f}, make([]byte, 1<<20)...),
		ws.StatusMessageTooBig,
	},
	"negative frame": {
		append([]byte{0x81, 0xff, 0xff}, make([]byte, 1<<20)...), ws.StatusProtocolError,
	},
	"long message": {
		append(frame(ws.OpText, false, longest), frame(ws.OpContinuation, true, "x")...),
		ws.StatusMessageTooBig,
	},
	"binary":   {frame(ws.OpBinary, true, "x"), ws.StatusUnsupportedData},
	"no UTF-8": {frame(ws.OpText, true, "\xff"), ws.StatusInvalidFramePayloadData},
	"not masked": {
		ws.MustCompileFrame(ws.NewTextFrame([]byte("x"))), ws.StatusProtocolError,
	},
	"continuation": {frame(ws.OpContinuation, true, "x"), ws.StatusProtocolError},
	"no continuation": {
		append(frame(ws.OpText, false, ""), frame(ws.OpText, true, "x")...),
		ws.StatusProtocolError,
	},
	"long ping": {frame(ws.OpPing, true, longest), ws.StatusProtocolError},
}

// A client that breaks the rules is told why, whatever else is on its way. The others stay.
func TestRules(t *testing.T) {
	s := start(t)
	witness := meet(t, s, "witness")
	for name, c := range violations {
		t.Run(name, func(t *testing.T) {
			p := meet(t, s, "villain")
			_ = p.write(c.frames) // the server may close before it has read them all
			if err := p.awaitClose(c.code); err != nil {
				t.Error(err)
			}
		})
	}
	p := meet(t, s, "talker")
	if err := p.write(frame(ws.OpText, true, longest)); err != nil {
		t.Fatal(err)
	}
	err := witness.await(func() bool { return len(witness.heard) == 1 })
	if err != nil || witness.heard[0] != "1 talker: "+longest {
		t.Errorf("the witness heard %.60q, %v", witness.heard, err)
	}
}

// A message that a client sends right behind its request is not lost.
func TestMessageBehindTheRequest(t *testing.T) {
	s := start(t)
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "GET /ws?nick=anna HTTP/1.1\r\nHost: chat\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		string(frame(ws.OpText, true, "hello")))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if f, err := ws.ReadFrame(in); err != nil || string(f.Payload) != "1 anna: hello" {
		t.Errorf("got %q, %v", f.Payload, err)
	}
}

// Without an address, the program says how it is called.
func TestUsage(t *testing.T) {
	out, err := servicetest.Command(nil).CombinedOutput()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ended.ExitCode() != 2 || string(out) != "usage: chat HOST:PORT\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
