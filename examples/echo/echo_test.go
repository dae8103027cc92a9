//go:build linux

package main

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// Echo is upgraded three times. Each generation has a connection, and serves it to its end.
func TestEcho(t *testing.T) {
	s := startService(t)
	traffic := startTraffic(s.addr)
	conns := []conn{mustDial(t, s.addr)}
	if err := conns[0].echo("before the upgrades"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, old := s.Newest()
		s.Upgrade()
		conns = append(conns, dialPast(t, old, s.addr))
	}
	for i, c := range conns {
		if err := c.echo("after the upgrades"); err != nil {
			t.Errorf("connection of generation %d: %v", i+1, err)
		}
	}
	traffic.end(t)
	endOneByOne(t, s, conns)

	s.AwaitCleanEnd()
}

// A process that cannot listen says in its log at which address, and what to look for.
func TestAddressInUse(t *testing.T) {
	ln, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	out, err := servicetest.Command(nil, ln.Addr().String()).CombinedOutput()
	if err == nil {
		t.Error("it has not failed")
	}
	for _, want := range []string{
		"ERROR listen failed", "address=" + ln.Addr().String(), "address already in use", "ss -lntup",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

// dialPast opens a connection that the old process does not serve, because it is stopped meanwhile.
func dialPast(t *testing.T, old int, addr string) conn {
	t.Helper()
	signalTo(t, old, syscall.SIGSTOP)
	defer signalTo(t, old, syscall.SIGCONT)
	eventually(t, "stop of the old process", func() bool { return state(old) == "T" })
	c := mustDial(t, addr)
	if err := c.echo("just after the upgrade"); err != nil {
		t.Fatal(err)
	}
	return c
}

func signalTo(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("send %v to process %d: %v", sig, pid, err)
	}
}

// endOneByOne closes the connections. A draining process ends when its connection is closed, not
// before.
func endOneByOne(t *testing.T, s *service, conns []conn) {
	t.Helper()
	pids := s.PIDs()
	if len(pids) != len(conns) {
		t.Fatalf("there were generations %v, not %d", pids, len(conns))
	}
	for i, pid := range pids {
		if i == len(pids)-1 { // the one that serves
			signalTo(t, pid, syscall.SIGTERM)
		}
		for _, younger := range pids[i:] {
			if gone(younger) {
				t.Errorf("process %d ended before its connection", younger)
			}
		}
		if err := errors.Join(conns[i].echo("good bye"), conns[i].Close()); err != nil {
			t.Errorf("connection of generation %d: %v", i+1, err)
		}
		eventually(t, "end of a process without connections", func() bool { return gone(pid) })
	}
}

// Without an address, the program says how it is called.
func TestUsage(t *testing.T) {
	out, err := servicetest.Command(nil).CombinedOutput()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ended.ExitCode() != 2 || string(out) != "usage: echo HOST:PORT\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
