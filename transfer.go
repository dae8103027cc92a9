package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// MaxTransferState is how many bytes of state can be transferred with a connection: 64 KiB.
const MaxTransferState = handoff.MaxTransferState

// What is on its way to a successor at once. Who waits for a place can still go on with its connection if it changes its mind.
const (
	maxUnanswered   = 32
	bytesPerPlace   = MaxTransferState / maxUnanswered
	transferTimeout = 3 * time.Second // for an answer: a successor that is later counts as hung
)

// Transfer gives an open connection to the successor, while this process drains, or to the process that serves by then, if the
// successor has been replaced itself. It must be one that was accepted, of package net, TCP or unix. There it comes to the function of
// [Manager.HandleTransfers] by the same name, with the state, of at most [MaxTransferState] bytes: what was read and not yet handled,
// for example.
//
// When Transfer returns nil, the connection is the successor's. The caller closes c, and must not have used it since Transfer was
// called: no Read or Write may be under way. After an error the successor does not have the connection, and has not touched it:
// the caller goes on with it. Either is certain, also if the successor dies or falls silent meanwhile: its answer is awaited for
// 3 seconds, and then it gets nothing any more. (As long as such a successor hangs, its descriptor keeps the connection open: Close
// alone does not end it for the client, CloseWrite does.)
//
// The context bounds the wait for other transfers, of which 32 are under way at once. It can be called by several goroutines.
//
// [ErrNoSuccessor] is matched by the error if there is nobody to take the connection: this process serves, or stops without a
// successor, or that has ended or is silent, or its own drain has ended. So it is always on other systems than Linux. [ErrRefused]
// is matched if the successor has not taken this one: because it has no function for the name, for example, or no descriptor left. It
// also refuses a connection that has ended meanwhile, reset by its client: here a Read or Write says so, after what was left to read.
func (m *Manager) Transfer(ctx context.Context, name string, c syscall.Conn, data []byte) error {
	if err := m.transfer(ctx, name, c, data); err != nil {
		return fmt.Errorf("grace: transfer a connection to %q: %w", name, err)
	}
	return nil
}

func (m *Manager) transfer(ctx context.Context, name string, c syscall.Conn, data []byte) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	if c == nil {
		return errors.New("the connection is nil")
	}
	if len(data) > MaxTransferState {
		return fmt.Errorf("the state has %d bytes, more than %d", len(data), MaxTransferState)
	}
	if !errors.Is(m.Cause(), ErrUpgraded) {
		return ErrNoSuccessor
	}
	return m.successor.Load().outlet.offer(ctx, &handoff.Offer{Name: name, State: string(data)}, c)
}

// transfers are those over one link.
type transfers struct {
	link    *handoff.Link
	turn    chan struct{}   // to send: one at a time
	places  chan struct{}   // of what is unanswered
	sending context.Context //nolint:containedctx // of all: it ends, with ErrNoSuccessor, when nothing more is to be sent
	stop    context.CancelCauseFunc
	revoked sync.Once
	heard   chan struct{} // closed when hear returns

	mu      sync.Mutex
	seq     int                // of the last one
	waiting map[int]chan error // for the answer, by its number
	ended   bool               // there are no more answers
	taken   int
}

func newTransfers(l *handoff.Link) *transfers {
	t := &transfers{
		link: l, turn: make(chan struct{}, 1), places: make(chan struct{}, maxUnanswered),
		heard: make(chan struct{}), waiting: make(map[int]chan error),
	}
	t.sending, t.stop = context.WithCancelCause(context.Background())
	return t
}

// offer returns nil when the successor has taken the connection.
func (t *transfers) offer(ctx context.Context, msg *handoff.Offer, c syscall.Conn) error {
	places := min(1+len(msg.State)/bytesPerPlace, maxUnanswered)
	answer, err := t.send(ctx, msg, c, places)
	if errors.Is(err, ErrNoSuccessor) {
		t.revoke()
	}
	if err != nil {
		return err
	}
	defer t.release(places)
	timer := time.NewTimer(transferTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		t.revoke()
		return <-answer
	}
}

// errSilent is matched when the successor does not even read.
var errSilent = fmt.Errorf("%w: it is silent", ErrNoSuccessor)

// send sends an offer, when there is room for it.
func (t *transfers) send(ctx context.Context, msg *handoff.Offer, c syscall.Conn, places int) (answer <-chan error, err error) {
	if err := t.enter(ctx, t.turn); err != nil {
		return nil, err
	}
	defer func() { <-t.turn }()
	for got := range places {
		if err := t.enter(ctx, t.places); err != nil {
			t.release(got)
			return nil, err
		}
	}
	answer, err = t.expect(msg)
	if err == nil {
		err = t.sendNow(msg, c)
	}
	if err != nil {
		t.forget(msg.Seq)
		t.release(places)
		return nil, err
	}
	return answer, nil
}

// enter takes a place.
func (t *transfers) enter(ctx context.Context, places chan struct{}) error {
	switch {
	case t.sending.Err() != nil:
		return ErrNoSuccessor
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	select {
	case places <- struct{}{}:
		return nil
	case <-t.sending.Done():
		return ErrNoSuccessor
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *transfers) release(places int) {
	for range places {
		<-t.places
	}
}

// expect numbers an offer, and gives the channel for its answer.
func (t *transfers) expect(msg *handoff.Offer) (<-chan error, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, ErrNoSuccessor
	}
	t.seq++
	msg.Seq = t.seq
	answer := make(chan error, 1)
	t.waiting[msg.Seq] = answer
	return answer, nil
}

func (t *transfers) forget(seq int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, seq)
}

// sendNow sends an offer, whole or not.
func (t *transfers) sendNow(msg *handoff.Offer, c syscall.Conn) error {
	ctx, cancel := context.WithTimeoutCause(t.sending, transferTimeout, errSilent)
	defer cancel()
	err := t.link.SendWith(ctx, msg, c)
	if err != nil && (t.sending.Err() != nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		return ErrNoSuccessor
	}
	return err
}

// answered passes an answer on.
func (t *transfers) answered(seq int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	answer, ok := t.waiting[seq]
	if !ok {
		return
	}
	delete(t.waiting, seq)
	answer <- err
	if err == nil {
		t.taken++
	}
}

// hear reads answers. It returns when there will be none any more; if ctx ends, those that are still awaited will not come.
func (t *transfers) hear(ctx context.Context, redirect func(*os.File)) {
	defer close(t.heard)
	defer context.AfterFunc(ctx, t.revoke)()
	for {
		msg, file, err := t.link.ReceiveWith(context.Background()) // revoke ends it
		if err != nil {
			break
		}
		switch msg := msg.(type) {
		case *handoff.Taken:
			t.answered(msg.Seq, nil)
		case *handoff.Refused:
			t.answered(msg.Seq, fmt.Errorf("%w: %s", ErrRefused, msg.Reason))
		case *handoff.Redirect:
			redirect(file)
			continue
		}
		_ = closeFile(file)
	}
	t.revoke() // also a successor that has said something else
	defer t.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for _, answer := range t.waiting {
		answer <- fmt.Errorf("%w: it has not answered", ErrNoSuccessor)
	}
	clear(t.waiting)
}

// hearOut waits until all is known that the other side has said before its end, which may be noticed first.
func (t *transfers) hearOut(ctx context.Context) {
	select {
	case <-t.heard:
	case <-ctx.Done():
	}
}

// revoke ends the transfers: what was not taken by now is not taken any more. hear reads what was said before.
func (t *transfers) revoke() {
	t.stop(ErrNoSuccessor)
	t.revoked.Do(func() {
		t.turn <- struct{}{} // nobody sends
		defer func() { <-t.turn }()
		_ = t.link.Queue(&handoff.Revoked{}) // there is room for it; where it cannot be said, the successor sees no clean end
		t.link.CloseRead()
	})
}

func (t *transfers) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken
}

func (t *transfers) close() {
	t.stop(ErrNoSuccessor)
	_ = t.link.Close()
}
