package fds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
)

// phase says to whom the sockets of a Set belong.
type phase int

const (
	phaseOpen   phase = iota // to us
	phaseLent                // to us, and to a successor that may yet fail
	phaseHanded              // to the successor: what we still have open, we only close
	phaseClosed
)

// Set owns the sockets of a process.
type Set struct {
	pinned   sync.RWMutex // locked while descriptors are lent: no Socket can be closed
	mu       sync.Mutex
	phase    phase
	returned chan struct{} // while lent; closed when that ends
	estate   *estate
	settled  bool // the estate is closed
	ordinals ordinals
	held     []*Socket // in the order in which they were opened
	pruned   int       // len(held) after the last look for sockets that were closed unseen
	orphans  []*Socket // closed while lent: their paths are removed if the loan comes back
}

// New gives a Set without inherited descriptors.
func New() *Set {
	return &Set{estate: newEstate(nil), ordinals: make(ordinals)}
}

// Inherit takes the announced descriptors into a new Set, which owns them from then on: each is open, was passed through
// exec, and is made close-on-exec. On error, those that are ours to close are closed.
//
// Records describe them where a parent of our own kind sent such a description, and are the Set's from then on; without (nil),
// each has to be a socket that a Listen function can return.
func Inherit(a Announced, records []Record) (*Set, error) {
	known := records != nil
	if !known {
		records = given(a)
	}
	if err := checkAll(a.Count, records, known); err != nil {
		Discard(a)
		return nil, err
	}
	setCloexec(First, a.Count)
	s := New()
	s.estate = newEstate(records)
	return s, nil
}

// Discard closes the announced descriptors: those of them that were passed to this process.
func Discard(a Announced) {
	for fd := First; fd < First+a.Count; fd++ {
		if cameByExec(fd) == nil {
			_ = closeFD(fd)
		}
	}
}

// given describes descriptors of which only the environment speaks. A count that lies must not cost memory.
func given(a Announced) []Record {
	records := []Record{}
	for i := range a.Count {
		if cameByExec(First+i) != nil {
			break
		}
		r := Record{Given: true}
		if i < len(a.Names) {
			r.Name = a.Names[i]
		}
		records = append(records, r)
	}
	return records
}

func checkAll(count int, records []Record, known bool) error {
	if known {
		if len(records) != count {
			return fmt.Errorf("%w: %s counts %d descriptors, and the parent describes %d", ErrEnvironment, envCount, count, len(records))
		}
		return nil // it has just passed what it describes
	}
	for fd := First; fd < First+count; fd++ {
		if err := cameByExec(fd); err != nil {
			return fmt.Errorf("%w: %s=%d, but %w", ErrEnvironment, envCount, count, err)
		}
		if f := inspect(fd); !f.servable() {
			h := &heir{fd: fd, record: &records[fd-First]}
			return fmt.Errorf("%w: %s is %s: only listening and datagram sockets can be taken over", ErrEnvironment, h, f)
		}
	}
	return nil
}

// Open gives the socket that is asked for: an inherited one, or else a new one. While the sockets are lent it waits, since a
// socket that was opened now would be lost if the loan were kept.
func (s *Set) Open(ctx context.Context, ask Ask) (*Socket, error) {
	if _, _, err := kindOf(ask.Network); err != nil {
		return nil, &net.OpError{Op: "listen", Net: ask.Network, Err: err}
	}
	ordinal, err := s.reserve(ctx, ask)
	if err != nil {
		return nil, err
	}
	sock, err := s.obtain(ctx, ask, ordinal)
	if err == nil {
		err = s.add(ctx, sock)
	}
	if err != nil {
		s.cancel(ask.key(), ordinal)
		return nil, err
	}
	return sock, nil
}

// exactUpTo is how many sockets are looked at, at each Open of a bare one, for some that were closed unseen. With more, their
// ordinals are free only after the next prune.
const exactUpTo = 500

// reserve takes an ordinal once the Set is open.
func (s *Set) reserve(ctx context.Context, ask Ask) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitOpen(ctx); err != nil {
		return 0, err
	}
	if ask.Bare && len(s.held) < exactUpTo {
		s.forgetClosed(func(sock *Socket) bool { return sock.key == ask.key() }) // its number is free
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
	switch s.phase {
	case phaseHanded:
		return ErrHandedOver
	case phaseClosed:
		return ErrClosed
	}
	return nil
}

func (s *Set) obtain(ctx context.Context, ask Ask, ordinal int) (*Socket, error) {
	h, err := s.claim(ctx, ask, ordinal)
	if err != nil {
		return nil, err
	}
	record := Record{Name: ask.Name, Network: ask.Network, Address: ask.Address, Ordinal: ordinal}
	if h == nil {
		return bind(ctx, ask, record)
	}
	record.Given = h.record.Given
	conn, err := adopt(ask, h)
	if err != nil {
		s.disclaim(h)
		return nil, err
	}
	if record.Name == "" {
		record.Name = h.record.Name // the next generation may ask by it
	}
	return &Socket{key: ask.key(), record: record, file: h.record.File, bare: ask.Bare, inherited: true, conn: conn}, nil
}

// claim marks the heir that the Ask means. Names are looked up with mu released.
func (s *Set) claim(ctx context.Context, ask Ask, ordinal int) (*heir, error) {
	var address *wants
	if s.isAmbiguous(ask.Name) {
		if w, err := parse(ctx, ask); err == nil {
			address = &w
		}
	}
	h, left, err := s.claimWith(func(e *estate) (*heir, error) { return e.findWords(ask, ordinal, address) })
	if h != nil || err != nil || left == 0 {
		return h, err
	}
	w, err := parse(ctx, ask)
	if err != nil || !w.byPlace {
		return nil, err
	}
	h, _, err = s.claimWith(func(e *estate) (*heir, error) { return e.findPlace(ask, w) })
	return h, err
}

func (s *Set) claimWith(find func(*estate) (*heir, error)) (h *heir, left int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err = find(s.estate)
	if h != nil && err == nil {
		h.claimed = true
		s.estate.left--
	}
	return h, s.estate.left, err
}

// isAmbiguous reports whether several heirs have the name.
func (s *Set) isAmbiguous(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return name != "" && len(s.estate.named[name]) > 1
}

// disclaim gives an heir back that could not be adopted. After the end of the inheritance there is nobody to give it to.
func (s *Set) disclaim(h *heir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled {
		h.close()
		return
	}
	h.claimed = false
	s.estate.left++
	s.estate.places = nil // it may not be among them
}

// add makes the Set own the socket. A socket that comes too late is closed again.
func (s *Set) add(ctx context.Context, sock *Socket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitOpen(ctx); err != nil {
		sock.removePath()
		return errors.Join(err, sock.conn.Close())
	}
	s.prune()
	sock.set = s
	s.held = append(s.held, sock)
	return nil
}

// prune forgets the sockets that were closed without our help: a socket of one of the typed Listen functions is the standard
// library's own, and does not tell us. It looks at all of them, but only when their number has doubled.
func (s *Set) prune() {
	if len(s.held) >= 2*s.pruned+64 {
		s.forgetClosed(func(*Socket) bool { return true })
		s.pruned = len(s.held)
	}
}

// forgetClosed forgets those of the bare sockets that are closed; the others tell us.
func (s *Set) forgetClosed(of func(*Socket) bool) {
	s.held = slices.DeleteFunc(s.held, func(sock *Socket) bool {
		gone := sock.bare && of(sock) && !sock.open()
		if gone {
			s.forget(sock)
		}
		return gone
	})
}

// forget ends what the Set keeps for a socket that is closed, or about to be; mu is held.
func (s *Set) forget(sock *Socket) {
	s.ordinals.free(sock.key, sock.record.Ordinal)
	switch {
	case s.phase == phaseLent, s.phase == phaseOpen && sock.inherited && !s.settled: // another process may yet serve it
		s.orphans = append(s.orphans, sock)
	case s.phase == phaseOpen:
		sock.removePath()
	}
}

// drop takes a socket out of the Set; it reports whether it was in it.
func (s *Set) drop(sock *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.held, sock)
	if i < 0 {
		return false
	}
	s.held = slices.Delete(s.held, i, i+1)
	s.forget(sock)
	return true
}

// Settle ends the inheritance, when this process is the one that serves: descriptors for which nobody asked are closed,
// since clients would wait in their queues for ever, and the paths of inherited unix sockets become ours to remove. It
// returns the records of what it closed.
func (s *Set) Settle() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = true
	for _, sock := range slices.Concat(s.held, s.orphans) {
		sock.ownPath()
	}
	s.bury()
	var closed []Record
	for i := range s.estate.heirs {
		if h := &s.estate.heirs[i]; !h.claimed {
			closed = append(closed, s.abandon(h))
		}
	}
	s.estate = newEstate(nil)
	return closed
}

// Renounce undoes what Settle has done for the sockets that are open: the process that has passed them serves on, and their
// paths are not ours to remove.
func (s *Set) Renounce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sock := range s.held {
		if sock.inherited {
			sock.ours = false
		}
	}
}

// abandon closes an heir, and removes its path if it was an earlier generation's and no socket of ours has it.
func (s *Set) abandon(h *heir) Record {
	f := *h.learn()
	record := *h.record
	if record.Network == "" {
		record.Network, record.Address = string(f.family), f.place()
	}
	h.close()
	taken := slices.ContainsFunc(s.held, func(sock *Socket) bool { return samePath(sock.path(), f.path) })
	if f.family == familyUnix && !record.Given && !taken && isPath(f.path) {
		removeFile(f.path, cmp.Or(record.File, fileID(f.path)))
	}
	return record
}

// Sockets lists the sockets that are open.
func (s *Set) Sockets() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.held), func(sock *Socket) bool { return !sock.open() })
}

// Close closes every socket, claimed or not, and removes the paths that are ours to remove.
func (s *Set) Close() error {
	s.pinned.RLock() // not while descriptors are lent by their numbers
	defer s.pinned.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == phaseClosed {
		return nil
	}
	s.endLoan(phaseOpen)
	s.bury()
	var errs []error
	for _, sock := range s.held {
		if s.phase == phaseOpen {
			sock.removePath()
		}
		if err := sock.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for i := range s.estate.heirs {
		if h := &s.estate.heirs[i]; !h.claimed {
			h.close()
		}
	}
	s.held, s.estate, s.settled, s.phase = nil, newEstate(nil), true, phaseClosed
	return errors.Join(errs...)
}
