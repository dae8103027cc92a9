package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// Sender offers the connections of an old process to its successor, or to the process that serves
// once the successor has been replaced too. A nil Sender leads nowhere. Its methods can be called
// from several goroutines.
type Sender struct {
	reading sync.WaitGroup // the answers, on all streams

	mu      sync.Mutex
	streams []*stream // the last one is the current one
}

// NewSender makes a Sender, and the file of the successor's end of its link, which the caller
// passes on and closes. Both are nil where there are no transfers.
func NewSender(pair Pair) (*Sender, *os.File, error) {
	l, end, err := pair.make()
	if l == nil {
		return nil, nil, err
	}
	return &Sender{streams: []*stream{newStream(l)}}, end, nil
}

// Send offers a connection, with up to [MaxState] bytes of data, to the handler with this name.
// When it returns nil, the other process has the connection, and the caller closes c. After an
// error the connection stays with the caller. ctx bounds the wait for other offers.
//
// Send waits for an answer, which Run reads.
func (s *Sender) Send(ctx context.Context, name string, c syscall.Conn, data []byte) error {
	if err := check(name, c, data); err != nil {
		return err
	}
	if s == nil {
		return ErrNoSuccessor
	}
	return s.offer(ctx, handoff.Offer{Name: name, State: string(data)}, c)
}

// check reports what is wrong with an offer, before anything is sent.
func check(name string, c syscall.Conn, data []byte) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	if c == nil {
		return errors.New("the connection is nil")
	}
	if len(data) > MaxState {
		return fmt.Errorf("the state has %d bytes, more than %d", len(data), MaxState)
	}
	return nil
}

// offer offers a connection until a process takes it or nobody is left to ask. A process that
// refuses it, or is gone, may have been replaced: then its redirect came first.
func (s *Sender) offer(ctx context.Context, offer handoff.Offer, c syscall.Conn) error {
	for {
		current := s.current()
		err := current.offer(ctx, offer, c)
		if errors.Is(err, ErrNoSuccessor) {
			current.awaitLastWord(ctx)
		}
		rejected := errors.Is(err, ErrNoSuccessor) || errors.Is(err, ErrRefused)
		if !rejected || current == s.current() {
			return err
		}
	}
}

func (s *Sender) current() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[len(s.streams)-1]
}

// Run reads the answers. It returns when no more can come, because the other processes have ended
// or ctx has; the offers that are unanswered by then are revoked.
func (s *Sender) Run(ctx context.Context) {
	if s != nil {
		s.read(ctx, s.current())
		s.reading.Wait()
	}
}

func (s *Sender) read(ctx context.Context, st *stream) {
	s.reading.Go(func() { // ends with the process on the other side, or with ctx
		st.run(ctx, func(end *os.File) error { return s.redirect(ctx, end) })
	})
}

// maxStreams bounds how often the connections of one drain are redirected. There is one redirect
// for each process that serves meanwhile.
const maxStreams = 1 << 10

// redirect makes a new link the current one. It takes the file, which is nil if it was lost on its
// way. Without a link, connections that the successor no longer takes stay here.
func (s *Sender) redirect(ctx context.Context, end *os.File) error {
	if end == nil {
		return nil
	}
	if s.length() == maxStreams {
		err := fmt.Errorf("%w: redirect %d in one drain is more than the %d allowed",
			handoff.ErrProtocol, maxStreams, maxStreams-1)
		return errors.Join(err, end.Close())
	}
	l, err := handoff.NewLink(end)
	if err != nil {
		return nil //nolint:nilerr // the connections stay here
	}
	st := newStream(l)
	s.mu.Lock()
	s.streams = append(s.streams, st)
	s.mu.Unlock()
	s.read(ctx, st)
	return nil
}

func (s *Sender) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Taken returns the number of connections that other processes have taken.
func (s *Sender) Taken() int {
	n := 0
	s.each(func(st *stream) { n += st.count() })
	return n
}

// Close closes all links.
func (s *Sender) Close() { s.each((*stream).close) }

func (s *Sender) each(do func(*stream)) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		do(st)
	}
}
