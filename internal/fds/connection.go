package fds

import (
	"net"
	"net/netip"
)

// Connection is a connection of this process that is known by its addresses alone: a wrapper of
// which nothing else is known hides its descriptor.
type Connection struct {
	fd int
	addresses
}

type addresses struct{ local, remote netip.AddrPort }

// Index finds the descriptors of connections. It lists those of the process once, when it is first
// asked. The zero value is ready to use.
type Index struct{ all map[addresses]int }

// Find finds the descriptor of a TCP connection. It reports false if none had these addresses when
// the descriptors were listed.
func (x *Index) Find(local, remote net.Addr) (Connection, bool) {
	here, ok := addrPortOf(local)
	there, ok2 := addrPortOf(remote)
	if !ok || !ok2 {
		return Connection{}, false
	}
	if x.all == nil {
		x.list()
	}
	wanted := addresses{here, there}
	fd, found := x.all[wanted]
	return Connection{fd, wanted}, found
}

func (x *Index) list() {
	x.all = make(map[addresses]int)
	for _, fd := range listDescriptors() {
		if a, ok := addressesOf(fd); ok {
			x.all[a] = fd
		}
	}
}

// IsOpen reports whether the connection has neither been closed by this process nor ended in both
// directions. No other one can have its addresses before.
func (c Connection) IsOpen() bool {
	a, ok := addressesOf(c.fd)
	return ok && a == c.addresses
}

func addrPortOf(addr net.Addr) (netip.AddrPort, bool) {
	a, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return unmapped(a.AddrPort()), true
}

// unmapped returns the address in one form, whatever the family of the socket is. A zone is left
// out: two connections do not differ by it alone.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
