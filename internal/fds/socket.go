package fds

import (
	"cmp"
	"io"
	"net"
	"syscall"
)

// Conn is what all listeners and packet connections of package net have.
type Conn interface {
	syscall.Conn
	io.Closer
}

// Socket is one socket of a Set. It has one descriptor, that of its Conn.
type Socket struct {
	set       *Set
	conn      Conn
	key       key // what was asked for; its record may have the name that a service manager gave
	record    Record
	inherited bool
	bare      bool   // it can be closed unseen
	ours      bool   // its path is ours to remove
	file      string // identity of the file at its path; "" if it has none, or was given to us
}

// Conn is the listener or packet connection of package net. Whoever closes it instead of the Socket leaves its path, if it
// has one, to be removed later.
func (s *Socket) Conn() Conn { return s.conn }

// described is the record for the next generation; mu of the Set is held, or nothing can change any more.
func (s *Socket) described() Record {
	r := s.record
	r.File = s.file
	return r
}

// Record says what was asked for.
func (s *Socket) Record() Record {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	return s.described()
}

// Inherited reports whether the socket came from another process.
func (s *Socket) Inherited() bool { return s.inherited }

// Addr is the socket's own address.
func (s *Socket) Addr() net.Addr {
	switch c := s.conn.(type) {
	case net.Listener:
		return c.Addr()
	case net.PacketConn:
		return c.LocalAddr()
	}
	return nil
}

// Close closes the socket and takes it out of its Set. The path of a unix socket is removed unless a successor serves it.
func (s *Socket) Close() error {
	s.set.pinned.RLock() // not while the descriptor is lent by its number
	defer s.set.pinned.RUnlock()
	s.set.drop(s)
	return s.conn.Close()
}

func (s *Socket) open() bool {
	raw, err := s.conn.SyscallConn()
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

// path of a unix socket, also of an abstract one; "" for all others.
func (s *Socket) path() string {
	if a, ok := s.Addr().(*net.UnixAddr); ok && a != nil {
		return a.Name
	}
	return ""
}

// ownPath makes the path of a unix socket ours to remove, unless the socket was given to us.
func (s *Socket) ownPath() {
	if p := s.path(); isPath(p) && !s.record.Given && !s.ours {
		s.ours = true
		s.file = cmp.Or(s.file, fileID(p))
	}
}

// removePath removes the path if it is ours and still the one that we saw.
func (s *Socket) removePath() {
	if s.ours {
		removeFile(s.path(), s.file)
		s.ours = false
	}
}
