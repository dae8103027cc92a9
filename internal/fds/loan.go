package fds

import (
	"slices"
	"sync"
)

// Loan holds the descriptors of the open sockets of a Set while a child is started with them.
type Loan struct {
	FDs     []uintptr
	Records []Record // of the sockets, in the order of FDs
	pins    []*Pin   // of bare sockets
	unlock  func()   // allows the others to be closed again
}

// Lend returns the descriptors of all open sockets, with their records. The descriptors are valid
// until the caller calls Release; whoever closes a socket before that waits for it, and so does
// another Lend. The sockets stay lent until TakeBack or HandOver is called.
func (s *Set) Lend() (*Loan, error) {
	socks, err := s.beginLoan()
	if err != nil {
		return nil, err
	}
	s.pinned.Lock()
	l := &Loan{
		FDs:     make([]uintptr, 0, len(socks)),
		Records: make([]Record, 0, len(socks)),
		unlock:  sync.OnceFunc(s.pinned.Unlock),
	}
	for _, sock := range socks {
		l.add(sock)
	}
	arrange(l.FDs, l.Records)
	return l, nil
}

// beginLoan returns the sockets to lend.
func (s *Set) beginLoan() ([]*Socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.gone(); err != nil {
		return nil, err
	}
	s.forgetClosed(func(*Socket) bool { return true }) // while this process owns their paths
	s.phase, s.returned = phaseLent, make(chan struct{})
	return slices.Clone(s.held), nil
}

// add lends a socket, unless it is closed.
func (l *Loan) add(sock *Socket) {
	fd, err := l.keepOpen(sock)
	if err != nil {
		return
	}
	l.FDs, l.Records = append(l.FDs, fd), append(l.Records, sock.describe())
}

// keepOpen returns the descriptor of a socket. Its Close waits for the Set's lock; a bare socket
// can be closed without that, and needs a Pin.
func (l *Loan) keepOpen(sock *Socket) (fd uintptr, err error) {
	if sock.bare {
		p, err := PinConn(sock.conn)
		if err != nil {
			return 0, err
		}
		l.pins = append(l.pins, p)
		return p.FD(), nil
	}
	err = Control(sock.conn, func(number int) error {
		fd = uintptr(number)
		return nil
	})
	return fd, err
}

// Release ends the validity of the descriptors. It can be called more than once.
func (l *Loan) Release() {
	for _, p := range l.pins {
		p.Release()
	}
	l.unlock()
}

// arrange puts each descriptor whose number the child will also use at the place where it keeps
// that number. All others have higher numbers, so at the start of the child none has to be moved
// out of the way of another: that would take a second number for each, and thousands of sockets
// would exceed the limit on descriptors.
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

// TakeBack ends a loan after a failed upgrade: the sockets belong to this process alone again.
func (s *Set) TakeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseLent {
		s.endLoan(phaseOpen)
		s.removePaths()
	}
}

// HandOver ends a loan after a successful upgrade: the sockets belong to the successor, which also
// removes their paths.
func (s *Set) HandOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLoan(phaseHandedOver)
	s.pathsPending = nil
}

func (s *Set) endLoan(next phase) {
	if s.phase == phaseLent {
		s.phase = next
		close(s.returned)
	}
}
