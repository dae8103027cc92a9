package fds

import (
	"maps"
	"net"
	"net/netip"
	"slices"
)

// ListenerID identifies a listener, so that its connections can be told from others after it is
// closed.
type ListenerID struct {
	record Record
	facts  facts
}

// String returns the name of the listener and the address that it has.
func (id ListenerID) String() string {
	id.record.Address = id.facts.addressText()
	return id.record.String()
}

// listenerID returns the identity of a listener; ok is false for other sockets.
func (s *Socket) listenerID() (id ListenerID, ok bool) {
	ln, ok := s.conn.(net.Listener)
	if !ok {
		return id, false
	}
	f := facts{kind: kindStream, listening: true}
	switch a := ln.Addr().(type) { // it is known after the end of the descriptor too
	case *net.TCPAddr:
		f.address = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), uint16(a.Port))
	case *net.UnixAddr:
		f.family, f.path = familyUnix, a.Name
		if a.Net == "unixpacket" {
			f.kind = kindSeqpacket
		}
	}
	return ListenerID{s.describe(), f}, true
}

// ListenerIDs returns the identities of the listeners, the closed ones included: their connections
// may outlive them.
func (s *Set) ListenerIDs() []ListenerID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]ListenerID, 0, len(s.held)+len(s.closed))
	for _, sock := range s.held {
		if id, ok := sock.listenerID(); ok {
			ids = append(ids, id)
		}
	}
	return slices.AppendSeq(ids, maps.Values(s.closed))
}

// remember keeps the identity of a listener that is closed; mu is held. Those without connections
// are dropped when their number has doubled.
func (s *Set) remember(sock *Socket) {
	id, ok := sock.listenerID()
	if !ok {
		return
	}
	s.closed[id.facts] = id
	if len(s.closed) < 2*s.closedKept+256 {
		return
	}
	ids := slices.Collect(maps.Values(s.closed))
	for i, n := range Connections(ids) {
		if n == 0 {
			delete(s.closed, ids[i].facts)
		}
	}
	s.closedKept = len(s.closed)
}

// Connections counts the open connections of this process for each of the listeners that accepted
// them. It asks the kernel about every descriptor, so connections need no wrapper.
func Connections(ids []ListenerID) []int {
	counts := make([]int, len(ids))
	if len(ids) == 0 {
		return counts
	}
	for _, fd := range listDescriptors() {
		f := inspect(fd)
		if !f.connected {
			continue
		}
		for _, anyAddress := range []bool{false, true} {
			i := slices.IndexFunc(ids,
				func(id ListenerID) bool { return id.facts.accepted(f, anyAddress) })
			if i >= 0 {
				counts[i]++
				break
			}
		}
	}
	return counts
}

// accepted reports whether the listener accepted a connection: the connection has the listener's
// address or, with anyAddress, another address of the host while the listener listens on all of
// them.
func (f facts) accepted(conn facts, anyAddress bool) bool {
	if f.kind != conn.kind || (f.family == familyUnix) != (conn.family == familyUnix) {
		return false
	}
	if f.family == familyUnix {
		return f.path == conn.path && f.path != ""
	}
	if f.address.Port() != conn.address.Port() {
		return false
	}
	if anyAddress {
		return f.address.Addr().IsUnspecified()
	}
	return f.address.Addr().Unmap() == conn.address.Addr().Unmap()
}
