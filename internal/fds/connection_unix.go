//go:build unix

package fds

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// addressesOf reports false if the descriptor is none of a TCP connection.
func addressesOf(fd int) (addresses, bool) {
	remote, err := unix.Getpeername(fd)
	if err != nil {
		return addresses{}, false
	}
	local, err := unix.Getsockname(fd)
	a := addresses{addrPort(local), addrPort(remote)}
	return a, err == nil && a.local.IsValid()
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return unmapped(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
	}
	return netip.AddrPort{}
}
