package fds

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
)

// phase says which process owns the sockets of a Set.
type phase int

const (
	phaseOpen       phase = iota // this process
	phaseLent                    // this process, and a successor that may still fail
	phaseHandedOver              // the successor: this process only closes its descriptors
	phaseClosed
)

// Set owns the sockets of a process.
type Set struct {
	pinned       sync.RWMutex // locked while descriptors are lent: no Socket can be closed
	mu           sync.Mutex
	phase        phase
	returned     chan struct{} // while lent; closed when that ends
	inherited    *inheritance
	claimsEnded  bool // CloseUnclaimed or Close was called
	deferring    bool // another process serves, see DeferListening
	ordinals     ordinals
	held         []*Socket            // in the order in which they were opened
	pruned       int                  // len(held) after the last search for closed sockets
	closed       map[facts]ListenerID // listeners that may still have connections
	closedKept   int                  // len(closed) after the last look for such connections
	pathsPending []*Socket            // of sockets that another process might serve
}

// New returns a Set without inherited descriptors.
func New() *Set {
	return &Set{
		inherited: newInheritance(nil), ordinals: make(ordinals),
		closed: make(map[facts]ListenerID),
	}
}

// Open returns the socket that is asked for: an inherited one, or else a new one. While the sockets
// are lent it waits, because a successor would not get a socket that is opened now.
func (s *Set) Open(ctx context.Context, ask Ask) (*Socket, error) {
	if _, _, err := kindOf(ask.Network); err != nil {
		return nil, &net.OpError{Op: "listen", Net: ask.Network, Err: err}
	}
	ordinal, err := s.reserve(ctx, ask)
	if err != nil {
		return nil, err
	}
	sock, err := s.inheritOrBind(ctx, ask, ordinal)
	if err == nil {
		err = s.add(ctx, sock)
	}
	if err != nil {
		s.cancel(ask.key(), ordinal)
		return nil, err
	}
	return sock, nil
}

// maxScan bounds the number of sockets that each Open of a bare one searches for those that were
// closed unseen. In a larger Set their ordinals are free only after the next prune.
const maxScan = 500

// reserve takes an ordinal once the Set is open.
func (s *Set) reserve(ctx context.Context, ask Ask) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitOpen(ctx); err != nil {
		return 0, err
	}
	if ask.Bare && len(s.held) < maxScan {
		// This frees their ordinals.
		s.forgetClosed(func(sock *Socket) bool { return sock.key == ask.key() })
	}
	return s.ordinals.take(ask.key()), nil
}

func (s *Set) cancel(k key, ordinal int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ordinals.free(k, ordinal)
}

// awaitOpen waits, with mu released, until the sockets are not lent.
func (s *Set) awaitOpen(ctx context.Context) error {
	for s.phase == phaseLent {
		returned := s.returned
		s.mu.Unlock()
		select {
		case <-returned:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return s.gone()
}

// Lent reports whether Open waits for the end of an upgrade.
func (s *Set) Lent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == phaseLent
}

// gone returns the error for sockets that no longer belong to this process; mu is held.
func (s *Set) gone() error {
	switch s.phase {
	case phaseHandedOver:
		return ErrHandedOver
	case phaseClosed:
		return ErrClosed
	}
	return nil
}

func (s *Set) inheritOrBind(ctx context.Context, ask Ask, ordinal int) (*Socket, error) {
	ask.path = absolute(ask)
	d, err := s.claim(ctx, ask, ordinal)
	if err != nil {
		return nil, err
	}
	record := ask.record(ordinal)
	if d == nil {
		ask.later = s.defers(ask)
		sock, bindErr := bind(ctx, ask, record)
		if d = s.claimInTheWay(ask, ordinal, bindErr); d == nil {
			return sock, bindErr
		}
	}
	record.Given, record.Path, record.Traits = d.record.Given, d.record.Path, d.record.Traits
	if record.Name == "" {
		record.Name = d.record.Name // the next generation may ask for it
	}
	take := openInherited
	if isUnix(ask) {
		take = func(ask Ask, d *descriptor, record Record) (*Socket, error) {
			return takeOverPath(ctx, ask, d, record)
		}
	}
	sock, err := take(ask, d, record)
	if err != nil {
		s.disclaim(d)
	}
	return sock, err
}

func openInherited(ask Ask, d *descriptor, record Record) (*Socket, error) {
	conn, err := adopt(ask, d)
	if err != nil {
		return nil, err
	}
	return &Socket{
		key: ask.key(), conn: conn, record: record, file: d.record.File,
		inherited: true, bare: ask.Bare,
	}, nil
}

// add makes the Set own the socket. A socket that comes too late is closed again.
func (s *Set) add(ctx context.Context, sock *Socket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitOpen(ctx); err != nil {
		sock.removePath()
		return errors.Join(err, sock.conn.Close())
	}
	if sock.deferred && !s.deferring {
		if err := startListening(sock.conn); err != nil {
			return errors.Join(err, sock.conn.Close())
		}
	}
	s.prune()
	sock.set = s
	s.held = append(s.held, sock)
	return nil
}

// prune forgets the bare sockets that were closed unseen. It looks at all sockets, but only when
// their number has doubled.
func (s *Set) prune() {
	if len(s.held) >= 2*s.pruned+64 {
		s.forgetClosed(func(*Socket) bool { return true })
		s.pruned = len(s.held)
	}
}

// forgetClosed forgets the closed ones among the bare sockets for which of returns true.
func (s *Set) forgetClosed(of func(*Socket) bool) {
	s.held = slices.DeleteFunc(s.held, func(sock *Socket) bool {
		gone := sock.bare && of(sock) && !sock.open()
		if gone {
			s.remember(sock)
			s.forget(sock)
		}
		return gone
	})
}

// forget frees the ordinal of a socket that is closed or about to be, and removes its path unless
// another process may still serve it; mu is held.
func (s *Set) forget(sock *Socket) {
	s.ordinals.free(sock.key, sock.record.Ordinal)
	switch {
	case s.phase == phaseLent, s.phase == phaseOpen && sock.inherited && !s.claimsEnded:
		s.pathsPending = append(s.pathsPending, sock)
	case s.phase == phaseOpen:
		sock.removePath()
	}
}

// drop takes a socket out of the Set and reports whether it was in it.
func (s *Set) drop(sock *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.held, sock)
	if i < 0 {
		return false
	}
	s.held = slices.Delete(s.held, i, i+1)
	s.remember(sock)
	s.forget(sock)
	return true
}

// DeferListening keeps new listeners that share their port out of the kernel's choice until
// StartListening, because another process serves and this one may still fail.
func (s *Set) DeferListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deferring = true
}

// defers reports whether a new socket has to wait for StartListening. A bare listener is accepted
// from at once, and unix sockets share nothing.
func (s *Set) defers(ask Ask) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fam, kind, _ := kindOf(ask.Network)
	return s.deferring && !ask.Bare && fam != familyUnix && kind == kindStream &&
		ask.Config.Control != nil
}

// StartListening is called before this process accepts connections. If it fails for a listener, the
// next Accept of that returns an error.
func (s *Set) StartListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.deferring {
		return
	}
	s.deferring = false
	for _, sock := range s.held {
		if sock.deferred {
			_ = startListening(sock.conn)
		}
	}
}

// CloseUnclaimed makes this process the one that serves. It closes the inherited descriptors that
// nobody has asked for, because clients would wait in their queues forever, and makes the paths of
// inherited unix sockets this process's to remove. It returns the records of the sockets that it
// closed.
func (s *Set) CloseUnclaimed() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claimsEnded = true
	for _, sock := range slices.Concat(s.held, s.pathsPending) {
		sock.adoptPath()
	}
	s.removePaths()
	s.refreshListeners()
	var closed []Record
	for i := range s.inherited.descriptors {
		if d := &s.inherited.descriptors[i]; !d.claimed {
			closed = append(closed, s.discard(d))
		}
	}
	s.inherited.carrier.close()
	s.inherited = newInheritance(nil)
	return closed
}

// refreshListeners makes this process the one that clients of inherited unix sockets see, and brings
// the backlogs of all inherited listeners up to date; mu is held.
func (s *Set) refreshListeners() {
	if len(s.inherited.descriptors) == 0 {
		return
	}
	b := newBacklogs()
	for _, sock := range s.held {
		if sock.inherited {
			b.refresh(sock)
		}
	}
}

// Disown leaves the paths of the open inherited sockets to the process that has passed them,
// because that process keeps serving: it reverts what CloseUnclaimed did for them.
func (s *Set) Disown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sock := range s.held {
		if sock.inherited {
			sock.ownsPath = false
		}
	}
}

// discard closes an inherited descriptor. It removes the path if an earlier generation bound it and
// no open socket has it.
func (s *Set) discard(d *descriptor) Record {
	f := *d.inspect()
	record := *d.record
	if record.Network == "" {
		record.Network, record.Address = string(f.family), f.addressText()
	}
	d.close()
	taken := slices.ContainsFunc(s.held,
		func(sock *Socket) bool { return samePath(sock.path(), f.path) })
	if f.family == familyUnix && !record.Given && !taken && isPath(f.path) {
		removeFile(f.path, cmp.Or(record.File, fileID(f.path)))
	}
	return record
}

// removePaths removes the paths of sockets that were closed while another process might have served
// them.
func (s *Set) removePaths() {
	for _, sock := range s.pathsPending {
		sock.removePath()
	}
	s.pathsPending = nil
}

// Sockets returns the sockets that are open.
func (s *Set) Sockets() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.held), func(sock *Socket) bool { return !sock.open() })
}

// Close closes every socket, claimed or not, and removes the paths that this process owns. It can
// be called more than once.
func (s *Set) Close() error {
	s.pinned.RLock() // not while descriptors are lent by their numbers
	defer s.pinned.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseClosed {
		return nil
	}
	s.endLoan(phaseOpen)
	s.removePaths()
	err := s.closeHeld()
	for i := range s.inherited.descriptors {
		if d := &s.inherited.descriptors[i]; !d.claimed {
			d.close()
		}
	}
	s.inherited.carrier.close()
	s.held, s.inherited, s.claimsEnded, s.phase = nil, newInheritance(nil), true, phaseClosed
	return err
}

func (s *Set) closeHeld() error {
	var errs []error
	for _, sock := range s.held {
		if s.phase == phaseOpen {
			sock.removePath()
		}
		if err := sock.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
