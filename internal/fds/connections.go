package fds

import "slices"

// Door is a listener, remembered so that its connections can be told from others once it is closed.
type Door struct {
	record Record
	facts  facts
}

// String names the listener, with the address that it has.
func (d Door) String() string {
	d.record.Address = d.facts.place()
	return d.record.String()
}

// Doors gives the listeners that are open.
func (s *Set) Doors() []Door {
	var doors []Door
	for _, sock := range s.Sockets() {
		raw, err := sock.conn.SyscallConn()
		if err != nil {
			continue
		}
		_ = raw.Control(func(fd uintptr) {
			if f := inspect(int(fd)); f.listening {
				doors = append(doors, Door{sock.Record(), f})
			}
		})
	}
	return doors
}

// Connections counts the open connections of this process by the door through which they have come. It asks the kernel about
// every descriptor, and so needs no wrapper around each connection.
func Connections(doors []Door) []int {
	counts := make([]int, len(doors))
	if len(doors) == 0 {
		return counts
	}
	for _, fd := range listDescriptors() {
		f := inspect(fd)
		if !f.connected {
			continue
		}
		if i := slices.IndexFunc(doors, func(d Door) bool { return d.facts.accepted(f, false) }); i >= 0 {
			counts[i]++
		} else if i := slices.IndexFunc(doors, func(d Door) bool { return d.facts.accepted(f, true) }); i >= 0 {
			counts[i]++
		}
	}
	return counts
}

// accepted reports whether a connection has come through the listener: it has the listener's address, or another address of
// the host where the listener has all of them.
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
