package grace

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sharedPort makes each listener a member of the group of its port.
var sharedPort = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}), err)
}}

// A new version that opens one more listener on a shared port, and then does not come up, has taken
// no client with it. One that comes up serves with both.
func TestNewMemberOfAGroupTakesNoClientBeforeTheCommit(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	s := start(t, "lines", config{
		SharePort: true, Listen: []endpoint{{Network: "tcp", Address: address}},
	})
	s.misbehave("join-and-hang")
	result := s.upgrading()
	s.awaitEvent("the new member", "SocketOpened", 2, "inherited=false")
	var clients []*client
	for range 20 {
		c := s.dialTo(0)
		defer c.Close()
		clients = append(clients, c)
	}
	if got := s.ask("cancel"); got != "cancelled" {
		t.Errorf("cancel: %q", got)
	}
	<-result
	for i, c := range clients {
		if got, err := c.ask("who"); err != nil || !strings.HasPrefix(got, "who 1 ") {
			t.Fatalf("client %d of 20 got %q, %v", i, got, err)
		}
	}
	s.misbehave("join")
	s.upgrade()
	for range 20 {
		s.mustReach(0, s.newest())
	}
}
