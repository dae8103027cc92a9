package fds

import (
	"errors"
	"net"
	"slices"
)

// CloseListeners closes the stream sockets that are open. Packet sockets stay, so that what was
// read from them can be answered. The caller has asked for the ListenerIDs before.
func (s *Set) CloseListeners() error {
	s.pinned.RLock() // not while descriptors are lent by their numbers
	defer s.pinned.RUnlock()
	var errs []error
	for _, sock := range s.takeListeners() {
		if err := sock.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// takeListeners takes all listeners out of the Set.
func (s *Set) takeListeners() (listeners []*Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = slices.DeleteFunc(s.held, func(sock *Socket) bool {
		_, ok := sock.conn.(net.Listener)
		if ok {
			listeners = append(listeners, sock)
			s.forget(sock)
		}
		return ok
	})
	return listeners
}
