package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/handoff"
)

// The bounds of a stream. An offer with a large state takes several slots, so that the unanswered
// offers always fit into the link.
const (
	maxUnanswered = 32
	bytesPerSlot  = MaxState / maxUnanswered
	answerTimeout = 3 * time.Second // a successor that is slower counts as hung
)

// stream is the offers over one link, and their answers.
type stream struct {
	link    *handoff.Link
	turn    chan struct{}   // holds a value while somebody sends
	slots   chan struct{}   // holds a value for each slot of an unanswered offer
	sending context.Context //nolint:containedctx // of all offers: ends when nothing more is sent
	stop    context.CancelFunc
	revoked sync.Once
	done    chan struct{} // closed when run returns

	mu       sync.Mutex
	seq      int                // of the last offer
	waiting  map[int]chan error // for the answer, by the offer's number
	finished bool               // no more answers come
	taken    int
}

func newStream(l *handoff.Link) *stream {
	s := &stream{
		link:    l,
		turn:    make(chan struct{}, 1),
		slots:   make(chan struct{}, maxUnanswered),
		done:    make(chan struct{}),
		waiting: make(map[int]chan error),
	}
	s.sending, s.stop = context.WithCancel(context.Background())
	return s
}

// offer returns nil when the other process has taken the connection.
func (s *stream) offer(ctx context.Context, msg *handoff.Offer, c syscall.Conn) error {
	slots := slotsFor(msg)
	answer, err := s.send(ctx, msg, c, slots)
	if errors.Is(err, ErrNoSuccessor) {
		s.revoke()
	}
	if err != nil {
		return err
	}
	defer s.release(slots)
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		s.revoke()
		return <-answer
	}
}

// slotsFor returns the number of slots that an offer takes.
func slotsFor(msg *handoff.Offer) int {
	return min(1+len(msg.State)/bytesPerSlot, maxUnanswered)
}

// send sends an offer as soon as it has its slots. The caller releases them after the answer; after
// an error they are free.
func (s *stream) send(
	ctx context.Context, msg *handoff.Offer, c syscall.Conn, slots int,
) (answer <-chan error, err error) {
	if err := s.enter(ctx, s.turn); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	if err := s.reserve(ctx, slots); err != nil {
		return nil, err
	}
	answer, err = s.expect(msg)
	if err == nil {
		err = s.sendNow(msg, c)
	}
	if err != nil {
		s.forget(msg.Seq)
		s.release(slots)
		return nil, err
	}
	return answer, nil
}

// reserve waits for slots.
func (s *stream) reserve(ctx context.Context, slots int) error {
	for got := range slots {
		if err := s.enter(ctx, s.slots); err != nil {
			s.release(got)
			return err
		}
	}
	return nil
}

func (s *stream) release(slots int) {
	for range slots {
		<-s.slots
	}
}

// enter waits until the queue has room for a value. It fails if nothing more is sent, or ctx ends.
func (s *stream) enter(ctx context.Context, queue chan<- struct{}) error {
	switch {
	case s.sending.Err() != nil:
		return ErrNoSuccessor
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	select {
	case queue <- struct{}{}:
		return nil
	case <-s.sending.Done():
		return ErrNoSuccessor
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// expect numbers an offer, and returns the channel for its answer.
func (s *stream) expect(msg *handoff.Offer) (<-chan error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return nil, ErrNoSuccessor
	}
	s.seq++
	msg.Seq = s.seq
	answer := make(chan error, 1)
	s.waiting[msg.Seq] = answer
	return answer, nil
}

func (s *stream) forget(seq int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, seq)
}

var errNotRead = fmt.Errorf("%w: it read no offer for %v", ErrNoSuccessor, answerTimeout)

// sendNow sends an offer. After an error the other side may have got a part of it.
func (s *stream) sendNow(msg *handoff.Offer, c syscall.Conn) error {
	ctx, cancel := context.WithTimeoutCause(s.sending, answerTimeout, errNotRead)
	defer cancel()
	err := s.link.SendWith(ctx, msg, c)
	if err != nil && (s.sending.Err() != nil || isHangup(err)) {
		return ErrNoSuccessor
	}
	return err
}

// isHangup reports whether the other side has closed its end.
func isHangup(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// run reads the answers. It returns when no more can come; those that are missing then never will.
// When ctx ends, it revokes the offers that are unanswered.
func (s *stream) run(ctx context.Context, redirect func(end *os.File)) {
	defer close(s.done)
	defer context.AfterFunc(ctx, s.revoke)()
	defer s.close()
	s.readAnswers(redirect)
	s.revoke() // a successor that sends nonsense gets nothing more
	s.giveUp()
}

// readAnswers reads until an error, which revoke provokes.
func (s *stream) readAnswers(redirect func(end *os.File)) {
	for {
		msg, file, err := s.link.ReceiveWith(context.Background())
		if err != nil {
			return
		}
		if _, ok := msg.(*handoff.Redirect); ok {
			redirect(file)
			continue
		}
		_ = file.Close() // nil, unless the other side errs
		switch msg := msg.(type) {
		case *handoff.Taken:
			s.answer(msg.Seq, nil)
		case *handoff.Refused:
			s.answer(msg.Seq, fmt.Errorf("%w: %s", ErrRefused, msg.Reason))
		}
	}
}

// answer passes an answer on to the caller of offer.
func (s *stream) answer(seq int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok := s.waiting[seq]
	if !ok {
		return
	}
	delete(s.waiting, seq)
	answer <- err
	if err == nil {
		s.taken++
	}
}

// giveUp answers the offers to which no answer came.
func (s *stream) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	for _, answer := range s.waiting {
		answer <- fmt.Errorf("%w: it did not answer", ErrNoSuccessor)
	}
	clear(s.waiting)
}

// awaitLastWord waits until everything is read that the other side sent before its end. The end
// itself may be noticed earlier, by a failed send.
func (s *stream) awaitLastWord(ctx context.Context) {
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// revoke takes back the offers that are unanswered, and ends the stream: run still reads the
// answers that were sent before. Where Revoked cannot be sent, the other side reads an end in the
// middle of a message, which says the same.
func (s *stream) revoke() {
	s.stop()
	s.revoked.Do(func() {
		s.turn <- struct{}{} // nobody else sends
		defer func() { <-s.turn }()
		_ = s.link.Queue(&handoff.Revoked{}) // the link has room for it
		s.link.CloseRead()
	})
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

func (s *stream) close() {
	s.stop()
	_ = s.link.Close()
}
