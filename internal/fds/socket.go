package fds

import (
	"cmp"
	"io"
	"net"
	"syscall"
)

// Conn has the methods that all listeners and packet connections of package net share.
type Conn interface {
	syscall.Conn
	io.Closer
}

// Socket is one socket of a Set. It has one descriptor, that of its Conn.
type Socket struct {
	set       *Set
	conn      Conn
	key       key // as asked for; its record may have the name from a service manager
	record    Record
	inherited bool
	deferred  bool   // it was bound before it had to listen, see listenLater
	bare      bool   // it can be closed unseen
	ownsPath  bool   // this process removes its path
	file      string // identity of the file at its path; "" if it has none or was given
	lostPath  error  // why the inherited socket could not be reached at its path
	rebound   bool   // a new one is bound to the path instead
}

// Conn returns the listener or packet connection of package net. If that is closed instead of the
// Socket, the path of a unix socket is removed later.
func (s *Socket) Conn() Conn { return s.conn }

// describe returns the record for the next generation. Either mu of the Set is held, or nothing can
// change.
func (s *Socket) describe() Record {
	r := s.record
	r.File = s.file
	return r
}

// Record returns what was asked for.
func (s *Socket) Record() Record {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	return s.describe()
}

// Inherited reports whether the socket came from another process.
func (s *Socket) Inherited() bool { return s.inherited }

// LacksConfig reports whether package net does not know the ListenConfig of the listener, because
// it was made from a descriptor.
func (s *Socket) LacksConfig() bool { return s.inherited || s.deferred }

// Addr returns the socket's own address.
func (s *Socket) Addr() net.Addr {
	switch c := s.conn.(type) {
	case net.Listener:
		return c.Addr()
	case net.PacketConn:
		return c.LocalAddr()
	}
	return nil
}

// Close closes the socket and takes it out of its Set. It removes the path of a unix socket unless
// a successor serves it.
func (s *Socket) Close() error {
	s.set.pinned.RLock() // not while the descriptor is lent by its number
	defer s.set.pinned.RUnlock()
	s.set.drop(s)
	return s.conn.Close()
}

func (s *Socket) open() bool {
	return Control(s.conn, func(int) error { return nil }) == nil
}

// LostPath returns why no client could find the inherited unix socket, or nil. rebound is set if a
// new socket is bound to the path, and that is the Socket.
func (s *Socket) LostPath() (path string, rebound bool, err error) {
	return s.path(), s.rebound, s.lostPath
}

// path returns the path, absolute if it is known, or abstract name of a unix socket, and "" for all
// others.
func (s *Socket) path() string {
	if s.record.Path != "" {
		return s.record.Path
	}
	if a, ok := s.Addr().(*net.UnixAddr); ok && a != nil {
		return a.Name
	}
	return ""
}

// adoptPath makes this process the one that removes the path of a unix socket, unless the socket
// was given.
func (s *Socket) adoptPath() {
	if p := s.path(); isPath(p) && !s.record.Given && !s.ownsPath {
		s.ownsPath = true
		s.file = cmp.Or(s.file, fileID(p))
	}
}

// removePath removes the path if this process owns it and the file is still the same.
func (s *Socket) removePath() {
	if s.ownsPath {
		removeFile(s.path(), s.file)
		s.ownsPath = false
	}
}
