//go:build linux

package transfer

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
)

func TestOffer(t *testing.T) {
	h := newHandover(t)
	h.receive()
	for i := range 3 * maxUnanswered {
		client, server := connect(t)
		state := strings.Repeat("half ", 1+i*100)
		if err := h.offer(server, "lines", state); err != nil {
			t.Fatal(err)
		}
		server.Close()
		says(t, client, "a line\n", state+"a line\n")
	}
	if n := h.old.count(); n != 3*maxUnanswered {
		t.Errorf("%d connections were taken", n)
	}
}

// A connection without a handler stays as it was.
func TestOfferRefused(t *testing.T) {
	h := newHandover(t)
	h.receive()
	client, server := connect(t)
	err := h.offer(server, "chat", "")
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `no handler for "chat"`) {
		t.Errorf("got %v", err)
	}
	go echo(server, nil) // ends with the connection
	says(t, client, "hello\n", "hello\n")
	h.transfersAnother()
}

// An offer that cannot be sent takes no slots.
func TestOfferOfAClosedConnection(t *testing.T) {
	h := newHandover(t)
	h.receive()
	_, server := connect(t)
	server.Close()
	for range 2 * maxUnanswered {
		if err := h.offer(server, "lines", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	h.transfersAnother()
}

// transfersAnother asserts that the transfers go on.
func (h *handover) transfersAnother() {
	h.t.Helper()
	client, server := connect(h.t)
	if err := h.offer(server, "lines", ""); err != nil {
		h.t.Errorf("the next one: %v", err)
	}
	server.Close()
	says(h.t, client, "hello\n", "hello\n")
}

// Connections that are offered to a process without an answer stay with the old one, for good.
func TestOfferToASilentSuccessor(t *testing.T) {
	t.Parallel()
	h := newHandover(t)
	client, server := connect(t)
	if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive() // it wakes up
	h.keeps(client, server)
	if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("the next one: %v", err)
	}
	if h.old.count() != 0 {
		t.Error("a connection was taken")
	}
}

// At the end of the drain nothing is in doubt.
func TestOfferAtTheEndOfTheDrain(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	answer := h.begin(server)
	h.endDrain()
	if err := <-answer; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	h.keeps(client, server)
}

// A caller can stop waiting for a slot, without an effect on others.
func TestOfferWaitsForASlot(t *testing.T) {
	h := newHandover(t)
	_, server := connect(t)
	var answers []<-chan error
	for range maxUnanswered {
		answers = append(answers, h.begin(server))
	}
	enough := errors.New("enough")
	ended, end := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, enough)
	defer end()
	wantEnough := func() {
		t.Helper()
		err := h.old.offer(ended, &handoff.Offer{Name: "lines"}, server.(*net.TCPConn))
		if !errors.Is(err, enough) {
			t.Errorf("got %v, want the context's cause", err)
		}
	}
	wantEnough()                                      // it waits
	wantEnough()                                      // it does not begin to
	h.done.Go(func() { h.receiver.Run(t.Context()) }) // without a handler
	for _, answer := range answers {
		if err := <-answer; !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
		h.old.release(1)
	}
	for range 20 {
		wantEnough() // even though slots are free
	}
	h.handle()
	h.transfersAnother()
	h.finish()
}

// An unread link has room for all offers that can be unanswered, and for Revoked after them.
func TestOffersLeaveRoomForRevoked(t *testing.T) {
	_, server := connect(t)
	sizes := []int{
		0, 200, 700, 1700, bytesPerSlot - 1, bytesPerSlot, 3000, 6000, 14000, 30000, MaxState,
	}
	for _, size := range sizes {
		h := newHandover(t)
		name, state := strings.Repeat("n", 255), strings.Repeat("s", size)
		slots := slotsFor(&handoff.Offer{State: state})
		for range maxUnanswered / slots {
			msg := &handoff.Offer{Name: name, State: state}
			if _, err := h.old.send(t.Context(), msg, server.(*net.TCPConn), slots); err != nil {
				t.Fatalf("states of %d bytes: %v", size, err)
			}
		}
		h.old.revoke()
		if err := h.receiver.takeOffers(t.Context()); !errors.Is(err, errRevoked) {
			t.Errorf("states of %d bytes: %v", size, err)
		}
		h.receiver.Close()
	}
}

// If the system gives less room than it said, an offer can be sent in part. The connection stays
// with the old process.
func TestOfferWithoutRoom(t *testing.T) {
	t.Parallel()
	h := newHandover(t)
	limitRoom(t, h.old.link)
	client, server := connect(t)
	for range 2 {
		err := h.offer(server, "lines", strings.Repeat("half a line", 1000))
		if !errors.Is(err, ErrNoSuccessor) {
			t.Errorf("got %v", err)
		}
	}
	h.receive()
	h.keeps(client, server)
}

func limitRoom(t *testing.T, l *handoff.Link) {
	t.Helper()
	control(t, l, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
	})
}

// control calls do with the descriptor of a connection or link.
func control(t *testing.T, c syscall.Conn, do func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

// A successor that sends nonsense is not heard any more, and takes nothing more.
func TestOfferToASuccessorThatSendsNonsense(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	answer := h.begin(server)
	write(t, h.receiver.link, "HTTP/1.1 400 Bad Request")
	if err := <-answer; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	h.keeps(client, server)
}
