package fds

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// The groups that a socket has joined belong to it and not to the process.
func TestMulticastGroupsStayWithTheSocket(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	must(t, err)
	join := func(fd int) error {
		return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: [4]byte{224, 0, 1, 99}, Ifindex: int32(lo.Index)})
	}
	s := newSet(t)
	sock := open(t, s, "udp4", "127.0.0.1:0")
	must(t, Control(sock.Conn(), join))
	next, err := successorOf(s)
	must(t, err)
	defer next.Close()
	inherited := open(t, next, "udp4", "127.0.0.1:0")
	must(t, s.Close())
	if err := Control(inherited.Conn(), join); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the successor joined the group: %v", err)
	}
}
