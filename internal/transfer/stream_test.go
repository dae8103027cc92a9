//go:build linux

package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/test/helpertest"
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

// An offer that cannot be sent is in nobody's way.
func TestOfferOfAClosedConnection(t *testing.T) {
	h := newHandover(t)
	h.receive()
	_, server := connect(t)
	server.Close()
	for range 20 {
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
	_, server = connect(t)
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

// Nor is it in doubt what becomes of the offers that wait for a slot then.
func TestWaitingOfferAtTheEndOfTheDrain(t *testing.T) {
	h := newHandover(t)
	clients, servers, results := h.queue([]string{"lines"})
	h.endDrain()
	if err := <-results[0]; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	h.keeps(clients[0], servers[0])
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
		err := h.old.offer(ended, handoff.Offer{Name: "lines"}, server.(*net.TCPConn))
		if !errors.Is(err, enough) {
			t.Errorf("got %v, want the context's cause", err)
		}
	}
	wantEnough()                                      // it waits
	wantEnough()                                      // it does not begin to
	h.awaitOffers(maxUnanswered, 0)                   // nor is it sent later
	h.done.Go(func() { h.receiver.Run(t.Context()) }) // without a handler
	for _, answer := range answers {
		if err := <-answer; !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	for range 20 {
		wantEnough() // even though slots are free
	}
	h.handle()
	h.transfersAnother()
	h.finish()
}

// queue offers connections to the named handlers in one message: all slots are taken at first.
func (h *handover) queue(names []string) (clients, servers []net.Conn, results []<-chan error) {
	h.t.Helper()
	_, server := connect(h.t)
	h.start(server, "lines", strings.Repeat("s", MaxState))
	h.awaitOffers(1, 0)
	for i, name := range names {
		client, server := connect(h.t)
		clients, servers = append(clients, client), append(servers, server)
		results = append(results, h.start(server, name, ""))
		h.awaitOffers(1, i+1)
	}
	return clients, servers, results
}

// Offers that wait go together into the next message, and each has its own answer.
func TestOffersOfOneMessage(t *testing.T) {
	h := newHandover(t)
	clients, servers, results := h.queue([]string{"lines", "chat", "lines", "chat", "lines"})
	h.receive()
	for i, result := range results {
		err := <-result
		if refused := i%2 == 1; refused != errors.Is(err, ErrRefused) || !refused && err != nil {
			t.Errorf("offer %d: %v", i, err)
		}
		if err == nil {
			servers[i].Close()
		} else {
			go echo(servers[i], nil) // ends with the connection
		}
		text := fmt.Sprintf("hello %d\n", i)
		says(t, clients[i], text, text)
	}
	if n := h.old.count(); n != 4 {
		t.Errorf("%d connections were taken", n)
	}
}

// If the new process can open only some of the descriptors of a message, each connection has one
// owner.
func TestOffersToAProcessWithFewDescriptors(t *testing.T) {
	const offers, room = 20, 7
	h := newHandover(t)
	clients, servers, results := h.queue(slices.Repeat([]string{"lines"}, offers))
	restore := leaveRoom(t, room)
	h.receive()
	taken := 0
	for i, result := range results {
		err := <-result
		switch {
		case err == nil:
			taken++
			servers[i].Close()
		case errors.Is(err, ErrRefused):
			go echo(servers[i], nil) // ends with the connection
		default:
			t.Errorf("offer %d: %v", i, err)
		}
		says(t, clients[i], "hello\n", "hello\n")
	}
	restore()
	if taken == 0 || taken > room {
		t.Errorf("%d connections were taken, with room for %d descriptors", taken, room)
	}
	h.transfersAnother()
}

// leaveRoom lowers the limit on descriptors, so that only a few more can be opened.
func leaveRoom(t *testing.T, room int) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(l unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
	}
	lowered := limit
	for lowered.Cur = 0; room >= 0; lowered.Cur++ {
		if !helpertest.IsOpen(int(lowered.Cur)) {
			room--
		}
	}
	lowered.Cur--
	set(lowered)
	restore = sync.OnceFunc(func() { set(limit) })
	t.Cleanup(restore)
	return restore
}

// A message leaves if it is the rest of the queue, or large, or if no other one is unanswered.
func TestNextMessage(t *testing.T) {
	for name, c := range map[string]struct {
		free   int
		queue  []int // sizes of states
		offers int   // in the message
	}{
		"nothing to send":                     {maxUnanswered, nil, 0},
		"one offer":                           {1, []int{0}, 1},
		"no slot":                             {0, []int{0}, 0},
		"the whole queue":                     {3, []int{0, 0, 0}, 3},
		"a small part of the queue":           {3, []int{0, 0, 0, 0}, 0},
		"a large part of the queue":           {16, make([]int, 40), 16},
		"a small part before a large state":   {20, []int{0, 0, MaxState}, 0},
		"that, when nothing is unanswered":    {maxUnanswered, []int{0, 0, MaxState}, 2},
		"a large state that does not fit yet": {maxUnanswered - 1, []int{MaxState}, 0},
		"a large state":                       {maxUnanswered, []int{MaxState, 0}, 1},
		"as much as fits":                     {maxUnanswered, make([]int, 100), maxUnanswered},
	} {
		s := newStream(nil)
		s.free = c.free
		if c.free < maxUnanswered {
			s.sent = []*message{{}}
		}
		for _, size := range c.queue {
			s.enqueue(&pending{Offer: handoff.Offer{State: strings.Repeat("s", size)}})
		}
		got := 0
		if m := s.next(); m != nil {
			m.timer.Stop()
			got = len(m.offers)
		}
		if got != c.offers || len(s.queue) != len(c.queue)-got {
			t.Errorf("%s: the message has %d offers, and %d wait", name, got, len(s.queue))
		}
	}
}

// An unread link has room for all offers that can be unanswered, and for Revoked after them,
// however they are distributed over messages.
func TestOffersLeaveRoomForRevoked(t *testing.T) {
	client, _ := connect(t)
	sizes := []int{
		0, 200, 700, 1700, bytesPerSlot - 1, bytesPerSlot, 3000, 6000, 14000, 30000, MaxState,
	}
	for _, size := range sizes {
		for _, together := range []bool{false, true} {
			h := newHandover(t)
			control(t, client.(*net.TCPConn), func(fd int) error {
				h.fill(fd, strings.Repeat("s", size), together)
				return nil
			})
			h.old.revoke()
			if err := h.receiver.takeOffers(t.Context()); !errors.Is(err, errRevoked) {
				t.Errorf("states of %d bytes: %v", size, err)
			}
			h.receiver.Close()
		}
	}
}

// fill offers a descriptor as often as possible, in one message or in one each.
func (h *handover) fill(fd int, state string, together bool) {
	h.t.Helper()
	offer := handoff.Offer{Name: strings.Repeat("n", 255), State: state}
	want := 0
	for free := maxUnanswered; free >= (&pending{Offer: offer}).slots(); want++ {
		free -= (&pending{Offer: offer}).slots()
		h.old.enqueue(&pending{Offer: offer, fd: fd, answer: make(chan error, 1)})
		if !together {
			h.old.sendQueue()
		}
	}
	h.old.sendQueue()
	if n := h.unanswered(); n != want {
		h.t.Errorf("states of %d bytes: %d offers of %d were sent", len(state), n, want)
	}
}

// A successor that answers more or fewer offers than there were, or others, has possibly taken the
// connection: it is the one that has it.
func TestAnswersThatDoNotMatch(t *testing.T) {
	taken := handoff.Answer{Taken: true}
	for what, answers := range map[string]*handoff.Answers{
		"none":               {},
		"two":                {Answers: []handoff.Answer{taken, taken}, Number: 1},
		"of another message": {Answers: []handoff.Answer{taken}, Number: 2},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHandover(t)
			client, server := connect(t)
			answer := h.begin(server)
			if err := h.receiver.send(t.Context(), answers); err != nil {
				t.Fatal(err)
			}
			h.cedes(client, server, answer)
		})
	}
}

// cedes asserts that the old process has given up a connection, and that the new one alone has it.
func (h *handover) cedes(client, server net.Conn, answer <-chan error) {
	h.t.Helper()
	if err := <-answer; err != nil {
		h.t.Errorf("the old process keeps the connection: %v", err)
	}
	server.Close()
	h.receive()
	says(h.t, client, "hello\n", "hello\n")
	if n := h.old.count(); n != 1 {
		h.t.Errorf("%d connections count as taken", n)
	}
	_, server = connect(h.t)
	if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
		h.t.Errorf("the next one: %v", err)
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

// A successor that sends nonsense is not heard any more, and takes nothing more. It may have taken
// what was offered before.
func TestOfferToASuccessorThatSendsNonsense(t *testing.T) {
	for what, nonsense := range map[string]string{
		"another protocol":             "HTTP/1.1 400 Bad Request",
		"a damaged message of Answers": "\x00\x00\x00\x03W\x01\x09",
		"a message that is unknown":    "\x00\x00\x00\x01X",
		"a message for the other side": "\x00\x00\x00\x01V",
		"two redirects":                "\x00\x00\x00\x01I\x00\x00\x00\x01I",
	} {
		t.Run(what, func(t *testing.T) {
			h := newHandover(t)
			client, server := connect(t)
			answer := h.begin(server)
			write(t, h.receiver.link, nonsense)
			h.cedes(client, server, answer)
		})
	}
}

// Nonsense says nothing about connections when none was offered.
func TestNonsenseBeforeAnOffer(t *testing.T) {
	for _, nonsense := range []string{
		"HTTP/1.1 400 Bad Request", "\x00\x00\x00\x05W\x01\x02\x01\x01",
	} {
		h := newHandover(t)
		write(t, h.receiver.link, nonsense)
		<-h.old.done
		client, server := connect(t)
		if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
			t.Errorf("got %v", err)
		}
		h.receive()
		h.keeps(client, server)
	}
}
