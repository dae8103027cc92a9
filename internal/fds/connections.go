package fds

import "slices"

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

// ListenerIDs returns the identities of the open listeners.
func (s *Set) ListenerIDs() []ListenerID {
	var ids []ListenerID
	for _, sock := range s.Sockets() {
		_ = Control(sock.conn, func(fd int) error { // fails for a socket that was closed meanwhile
			if f := inspect(fd); f.listening {
				ids = append(ids, ListenerID{sock.Record(), f})
			}
			return nil
		})
	}
	return ids
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
