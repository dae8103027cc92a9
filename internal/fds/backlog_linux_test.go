package fds

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// backlogOf returns the backlog of a TCP listener.
func backlogOf(t *testing.T, conn any) (n int) {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fdOf(t, conn), unix.IPPROTO_TCP, unix.TCP_INFO)
	must(t, err)
	return int(info.Sacked)
}

// The limit may have been raised after the first process was started. This one has lowered its own
// backlog instead, which any user can do.
func TestBacklogIsThatOfTheSystem(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	must(t, err)
	want, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	for given, want := range map[bool]int{false: want, true: 7} {
		ln := listenOn(t, "tcp", "127.0.0.1:0")
		must(t, unix.Listen(fdOf(t, ln), 7))
		address := ln.Addr().String()
		record := Record{Network: "tcp", Address: address, Given: given}
		s, _ := newSetWith(t, passedSocket{record, ln})
		sock := open(t, s, "tcp", address)
		if got := backlogOf(t, sock.Conn()); got != 7 {
			t.Fatalf("the backlog is %d before this process serves", got)
		}
		waiting, err := net.Dial("tcp", address)
		must(t, err)
		defer waiting.Close()
		s.CloseUnclaimed()
		if got := backlogOf(t, sock.Conn()); got != want {
			t.Errorf("given: %t: the backlog is %d, want %d", given, got, want)
		}
		c, err := sock.Conn().(net.Listener).Accept()
		must(t, err) // the connection that had been queued before
		must(t, c.Close())
	}
}
