package fds

import "slices"

// Lend calls use with the descriptors of all sockets that are open, and with their records; the descriptors are valid until
// use returns, and whoever closes one waits for that. The sockets stay lent until TakeBack or HandOver is called.
func (s *Set) Lend(use func(fds []uintptr, records []Record) error) error {
	socks, err := s.beginLoan()
	if err != nil {
		return err
	}
	s.pinned.Lock()
	defer s.pinned.Unlock()
	l := &loan{fds: make([]uintptr, 0, len(socks)), records: make([]Record, 0, len(socks))}
	return l.collect(socks, func() error {
		arrange(l.fds, l.records)
		return use(l.fds, l.records)
	})
}

// beginLoan gives the sockets that are to be lent.
func (s *Set) beginLoan() ([]*Socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case phaseHanded:
		return nil, ErrHandedOver
	case phaseClosed:
		return nil, ErrClosed
	}
	s.forgetClosed(func(*Socket) bool { return true }) // while their paths are ours to remove
	s.phase, s.returned = phaseLent, make(chan struct{})
	return slices.Clone(s.held), nil
}

// loan collects what is lent.
type loan struct {
	fds     []uintptr
	records []Record
}

// collect adds the sockets that are open, and calls use. A bare socket can be closed by its owner at any time, and its number
// be used again; so use is then called inside of RawConn.Control, which keeps the descriptor, one call nested in another.
func (l *loan) collect(socks []*Socket, use func() error) error {
	for i, sock := range socks {
		raw, err := sock.conn.SyscallConn()
		if err != nil {
			continue
		}
		var inner error
		err = raw.Control(func(fd uintptr) {
			l.fds, l.records = append(l.fds, fd), append(l.records, sock.described())
			if sock.bare {
				inner = l.collect(socks[i+1:], use)
			}
		})
		if err == nil && sock.bare {
			return inner
		}
	}
	return use()
}

// arrange puts each descriptor whose number is one of those that the child will see at the place where it keeps that number.
// The others have higher numbers than any of those, and so none has to be moved out of the way of another when the child is
// started: that would take a second number for each, and thousands of sockets would meet the limit on descriptors.
func arrange(fds []uintptr, records []Record) {
	for i := range fds {
		for {
			home := int(fds[i]) - First
			if home < 0 || home >= len(fds) || home == i {
				break
			}
			fds[i], fds[home] = fds[home], fds[i]
			records[i], records[home] = records[home], records[i]
		}
	}
}

// TakeBack ends a loan that came to nothing.
func (s *Set) TakeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseLent {
		s.endLoan(phaseOpen)
		s.bury()
	}
}

// bury removes the paths of sockets that were closed while another process might have served them.
func (s *Set) bury() {
	for _, sock := range s.orphans {
		sock.removePath()
	}
	s.orphans = nil
}

// HandOver ends a loan for good: the sockets are the successor's, and so is the duty to remove their paths.
func (s *Set) HandOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLoan(phaseHanded)
	s.orphans = nil
}

func (s *Set) endLoan(next phase) {
	if s.phase == phaseLent {
		s.phase = next
		close(s.returned)
	}
}
