package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

// The bounds of a stream. An offer with a large state takes several slots, so that the unanswered
// offers always fit into the link.
const (
	maxUnanswered = handoff.MaxOffers
	bytesPerSlot  = MaxState / maxUnanswered
	answerTimeout = 3 * time.Second // a successor that is slower counts as hung
	answerLooks   = 3               // within it: a stop of this process counts as one third
	maxReadErrors = 3               // in a row
)

// stream is the offers over one link, and their answers. An offer is sent at once if there are
// slots. Otherwise it waits, and goes into one message with others.
type stream struct {
	link    *handoff.Link
	turn    sync.Mutex      // held by whoever sends
	sending context.Context //nolint:containedctx // of all offers: ends when nothing more is sent
	stop    context.CancelFunc
	revoked sync.Once
	done    chan struct{} // closed when run returns

	redirected bool // run alone uses it

	mu       sync.Mutex
	queue    []*pending // not sent yet
	sent     []*message // and not answered, the oldest first
	busy     bool       // the last of them is being sent
	number   int        // of the last message
	free     int        // slots
	finished bool       // no more answers come
	doubt    error      // why answers may be lost: those that are missing count as given
	taken    int
}

// pending is an offer that waits for its answer.
type pending struct {
	handoff.Offer
	fd     int
	answer chan error // has room for it
}

// message is offers that are sent together.
type message struct {
	number int
	offers []*pending
	timer  *time.Timer // revokes them
	looks  int         // that are left
}

func newStream(l *handoff.Link) *stream {
	s := &stream{link: l, done: make(chan struct{}), free: maxUnanswered}
	s.sending, s.stop = context.WithCancel(context.Background())
	return s
}

// offer returns nil when the other process has taken the connection. Until then the descriptor
// stays open, even if the connection is closed.
func (s *stream) offer(ctx context.Context, offer handoff.Offer, c syscall.Conn) error {
	return fds.Control(c, func(fd int) error {
		p := &pending{Offer: offer, fd: fd, answer: make(chan error, 1)}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !s.enqueue(p) {
			return ErrNoSuccessor
		}
		s.sendQueue()
		select {
		case err := <-p.answer:
			return err
		case <-ctx.Done():
		}
		if s.withdraw(p) {
			return context.Cause(ctx)
		}
		return <-p.answer
	})
}

func (s *stream) enqueue(p *pending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished || s.sending.Err() != nil {
		return false
	}
	s.queue = append(s.queue, p)
	return true
}

// withdraw takes an offer back if it is not sent yet.
func (s *stream) withdraw(p *pending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, p)
	if i < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return true
}

// sendQueue sends the offers that can be sent now, unless another goroutine is doing so.
func (s *stream) sendQueue() {
	for m := s.next(); m != nil; m = s.next() {
		if errors.Is(s.send(m), ErrNoSuccessor) {
			s.revoke()
		}
	}
}

// next returns the next message, or nil if none can be sent now. Messages are large when there is
// much to send: one that is not the rest of the queue takes at least half of the slots.
func (s *stream) next() *message {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, slots := s.fitting()
	small := n < len(s.queue) && slots < maxUnanswered/2
	if n == 0 || small && len(s.sent) > 0 || s.busy || s.sending.Err() != nil {
		return nil
	}
	s.number++
	m := &message{number: s.number, offers: s.queue[:n:n], looks: answerLooks}
	m.timer = time.AfterFunc(answerTimeout/answerLooks, func() { s.look(m) })
	s.queue, s.sent = s.queue[n:], append(s.sent, m)
	s.free -= slots
	s.busy = true
	return m
}

// fitting returns how many offers of the queue fit into the free slots, and how many of these they
// take; mu is held.
func (s *stream) fitting() (n, slots int) {
	for _, p := range s.queue {
		more := p.slots()
		if slots+more > s.free {
			break
		}
		n, slots = n+1, slots+more
	}
	return n, slots
}

func (p *pending) slots() int { return min(1+len(p.State)/bytesPerSlot, maxUnanswered) }

// look revokes a message that has waited for its answer for too long.
func (s *stream) look(m *message) {
	s.mu.Lock()
	waits := slices.Contains(s.sent, m)
	m.looks--
	late := waits && m.looks == 0
	if waits && !late {
		m.timer.Reset(answerTimeout / answerLooks)
	}
	s.mu.Unlock()
	if late {
		s.revoke()
	}
}

// send sends a message. After an error the other side may have got a part of it.
func (s *stream) send(m *message) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	err := s.transmit(m)
	s.noteSent(m, err)
	return err
}

// transmit returns ErrNoSuccessor if nothing more can be sent; the turn is held.
func (s *stream) transmit(m *message) error {
	msg := &handoff.Offers{Number: m.number}
	var descriptors []int
	for _, p := range m.offers {
		msg.Offers = append(msg.Offers, p.Offer)
		descriptors = append(descriptors, p.fd)
	}
	err := s.link.SendWith(s.sending, msg, descriptors...)
	if err != nil && (s.sending.Err() != nil || handoff.IsEnd(err) || s.link.Broken()) {
		return ErrNoSuccessor
	}
	return err
}

// noteSent notes that a message was sent, or could not be.
func (s *stream) noteSent(m *message, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if i := slices.Index(s.sent, m); err != nil && i >= 0 {
		s.sent = slices.Delete(s.sent, i, i+1)
		s.settle(m, func(int) error { return err })
	}
}

// settle passes the answers to a message on to the callers of offer; mu is held.
func (s *stream) settle(m *message, answer func(i int) error) {
	m.timer.Stop()
	for i, p := range m.offers {
		s.free += p.slots()
		p.answer <- answer(i)
	}
}

// run reads the answers. It returns when no more can come; those that are missing then never will.
// When ctx ends, it revokes the offers that are unanswered. redirect takes the file of a Redirect.
func (s *stream) run(ctx context.Context, redirect func(end *os.File) error) {
	defer close(s.done)
	defer context.AfterFunc(ctx, s.revoke)()
	defer s.close()
	s.readAnswers(redirect)
	s.revoke() // a successor that sends nonsense gets nothing more
	s.giveUp()
}

// readAnswers reads until the end, which revoke provokes, or until what is read makes no sense.
// Any other error does not mean that no answers were sent.
func (s *stream) readAnswers(redirect func(end *os.File) error) {
	for failed := 0; failed < maxReadErrors; failed++ {
		msg, files, err := s.link.ReceiveWith(context.Background())
		if handoff.IsEnd(err) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = s.heed(msg, files, redirect)
			failed = -1
		}
		s.doubtAnswers(err)
		if errors.Is(err, handoff.ErrProtocol) {
			return
		}
	}
}

// heed does what the other side says.
func (s *stream) heed(
	msg handoff.Message, files []*os.File, redirect func(end *os.File) error,
) error {
	switch msg := msg.(type) {
	case *handoff.Answers:
		err := s.noteAnswers(msg)
		if err == nil {
			s.sendQueue()
		}
		return err
	case *handoff.Redirect:
		if s.redirected {
			return errors.Join(errRedirected, handoff.CloseAll(files))
		}
		s.redirected = true
		return redirect(append(files, nil)[0])
	}
	return errors.Join(unexpected(msg), handoff.CloseAll(files))
}

var errRedirected = fmt.Errorf("%w: the successor sent a second Redirect, and one is allowed",
	handoff.ErrProtocol)

func unexpected(m handoff.Message) error {
	return fmt.Errorf("%w: the successor sent %s instead of Answers",
		handoff.ErrProtocol, handoff.Name(m))
}

// doubtAnswers notes that answers to what was sent may be lost.
func (s *stream) doubtAnswers(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why != nil && len(s.sent) > 0 && s.doubt == nil {
		s.doubt = why
	}
}

// noteAnswers notes the answers to the oldest message. It returns an error if they cannot be those.
func (s *stream) noteAnswers(msg *handoff.Answers) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkAnswers(msg); err != nil {
		return err
	}
	m := s.sent[0]
	s.sent = s.sent[1:]
	s.doubt = nil // the answers come in order: none was lost
	s.settle(m, func(i int) error {
		if !msg.Answers[i].Taken {
			return fmt.Errorf("%w: %s", ErrRefused, handoff.Printable(msg.Answers[i].Reason))
		}
		s.taken++
		return nil
	})
	return nil
}

// checkAnswers compares answers with the oldest message; mu is held.
func (s *stream) checkAnswers(msg *handoff.Answers) error {
	if len(s.sent) == 0 {
		return fmt.Errorf("%w: the successor answered without an offer", handoff.ErrProtocol)
	}
	m := s.sent[0]
	if msg.Number != 0 && msg.Number != m.number {
		return fmt.Errorf("%w: the successor answered message %d instead of %d",
			handoff.ErrProtocol, msg.Number, m.number)
	}
	if len(msg.Answers) != len(m.offers) {
		return fmt.Errorf("%w: the successor sent %d answers to %d offers",
			handoff.ErrProtocol, len(msg.Answers), len(m.offers))
	}
	return nil
}

// giveUp answers the offers to which no answer came.
func (s *stream) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	err := fmt.Errorf("%w: it did not answer", ErrNoSuccessor)
	for _, m := range s.sent {
		s.settle(m, func(int) error {
			if s.doubt == nil {
				return err
			}
			s.taken++
			return nil
		})
	}
	for _, p := range s.queue {
		p.answer <- err
	}
	s.sent, s.queue = nil, nil
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
// answers that were sent before. If answers may be lost, it gives the offers up instead.
func (s *stream) revoke() {
	s.stop()
	s.revoked.Do(func() {
		s.turn.Lock() // nobody else sends
		defer s.turn.Unlock()
		// The link has room for it. Where it cannot be sent because only a part of a message was,
		// the other side reads an end in the middle of a message, which says the same.
		err := s.link.Queue(s.lastWord())
		if !handoff.IsEnd(err) && !errors.Is(err, net.ErrClosed) && !s.link.Broken() {
			s.doubtAnswers(err) // it reads an end, and may take what it has not answered
		}
		s.link.CloseRead()
	})
}

func (s *stream) lastWord() handoff.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubt != nil {
		return &handoff.Ceded{}
	}
	return &handoff.Revoked{}
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
