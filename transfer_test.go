//go:build linux

package grace

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/handoff"
)

// handover is both sides of the transfers of an upgrade, in this process.
type handover struct {
	t     *testing.T
	out   *outlet
	old   *transfers // its first
	new   *incoming
	end   context.CancelFunc // of the old process's drain
	takes *taker             // what receive takes
	taken atomic.Int32       // how many
	done  sync.WaitGroup     // of receive
}

// newHandover begins to transfer. The new process takes nothing before it is told to receive.
func newHandover(t *testing.T) *handover {
	t.Helper()
	out, theirs, err := newOutlet(handoff.TransferPair)
	if err != nil {
		t.Fatal(err)
	}
	link, err := handoff.NewLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	heard := make(chan struct{})
	go func() { // ends with ctx
		defer close(heard)
		out.hear(ctx)
	}()
	t.Cleanup(func() { end(); <-heard; out.close() })
	return &handover{t: t, out: out, old: out.present(), end: end, new: newIncoming(link)}
}

// newIncoming has a link to a process that is dead once that has ended.
func newIncoming(l *handoff.Link) *incoming {
	dead := newAncestor(Process{}, newFakeLink(), unwatched{}, time.Time{})
	close(dead.ended)
	return &incoming{link: l, takers: newTakers(&work{}), from: dead}
}

// receive lets the new process take what it is offered. Those connections answer lines, beginning with the state that came along.
func (h *handover) receive() {
	h.t.Helper()
	h.handle()
	h.done.Go(func() { h.new.receive(context.Background()) }) // ends with the link
	h.t.Cleanup(h.finish)
}

// finish ends the transfers on both sides.
func (h *handover) finish() {
	h.end()
	h.old.close()
	h.done.Wait()
}

// handle has "lines" taken.
func (h *handover) handle() {
	h.t.Helper()
	var err error
	h.takes, err = h.new.takers.add("lines", func(c net.Conn, state []byte) {
		h.taken.Add(1)
		echo(c, state)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// keeps asserts that the old process alone has the connection, which then ends.
func (h *handover) keeps(client, server net.Conn) {
	h.t.Helper()
	go echo(server, nil)
	for range 100 {
		says(h.t, client, "hello\n", "hello\n")
	}
	client.Close()
	h.finish()
	h.new.takers.remove(h.takes)
	if n := h.taken.Load(); n > 0 {
		h.t.Errorf("the new process has taken %d connections", n)
	}
}

func echo(c net.Conn, state []byte) {
	defer c.Close()
	for in := bufio.NewScanner(io.MultiReader(strings.NewReader(string(state)), c)); in.Scan(); {
		if _, err := io.WriteString(c, in.Text()+"\n"); err != nil {
			return
		}
	}
}

func (h *handover) offer(c net.Conn, name, state string) error {
	return h.old.offer(context.Background(), &handoff.Offer{Name: name, State: state}, c.(*net.TCPConn))
}

// connect gives both ends of a connection.
func connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err == nil {
		server, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// says sends a text, and wants one back.
func says(t *testing.T, client net.Conn, text, want string) {
	t.Helper()
	if _, err := io.WriteString(client, text); err != nil {
		t.Error(err)
		return
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != want {
		t.Errorf("the answer is %q, %v; want %q", got, err, want)
	}
}

func TestTransfer(t *testing.T) {
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

// What the successor has no function for stays as it was.
func TestTransferRefused(t *testing.T) {
	h := newHandover(t)
	h.receive()
	client, server := connect(t)
	err := h.offer(server, "chat", "")
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `no function for "chat"`) {
		t.Errorf("got %v", err)
	}
	go echo(server, nil)
	says(t, client, "hello\n", "hello\n")
	client2, server2 := connect(t)
	server2.Close()
	for range 2 * maxUnanswered {
		if err := h.offer(server2, "lines", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed connection: %v", err)
		}
	}
	client2.Close()
	client3, server3 := connect(t)
	if err := h.offer(server3, "lines", ""); err != nil {
		t.Errorf("the next one: %v", err)
	}
	server3.Close()
	says(t, client3, "hello\n", "hello\n")
}

// The connections that are offered to a process which says nothing stay with the old one, for good.
func TestTransferToASilentSuccessor(t *testing.T) {
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

// What a dead process has offered, and not taken back, is the successor's.
func TestTransferByAProcessThatDies(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	answer, err := h.old.send(context.Background(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn), 1)
	if err != nil {
		t.Fatal(err)
	}
	h.old.link.Close() // as its end does
	server.Close()
	if err := <-answer; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	says(t, client, "hello\n", "hello\n")
}

// At the end of the drain nothing is in doubt.
func TestTransferAtTheEndOfTheDrain(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	answer, err := h.old.send(context.Background(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn), 1)
	if err != nil {
		t.Fatal(err)
	}
	h.end()
	if err := <-answer; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	h.keeps(client, server)
}

// What cannot be transferred is said before anything is sent.
func TestTransferOfWhatIsWrong(t *testing.T) {
	m := newTestManager(t)
	_, server := connect(t)
	c := server.(*net.TCPConn)
	for want, err := range map[string]error{
		"the connection is nil":                      m.Transfer(t.Context(), "lines", nil, nil),
		"the state has 65537 bytes, more than 65536": m.Transfer(t.Context(), "lines", c, make([]byte, MaxTransferState+1)),
		"name":                 m.Transfer(t.Context(), "", c, nil),
		ErrNoSuccessor.Error(): m.Transfer(t.Context(), "lines", c, make([]byte, MaxTransferState)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Transfer(t.Context(), "lines", c, nil); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("after Shutdown: %v", err)
	}
	for what, take := range map[string]func(net.Conn, []byte){"lines": nil, "": echo} {
		if _, err := m.HandleTransfers(what, take); err == nil {
			t.Errorf("HandleTransfers has taken %q with a function: %v", what, take != nil)
		}
	}
}

// The end of the successor is one error, whoever notices it first.
func TestTransferToASuccessorThatHasEnded(t *testing.T) {
	_, server := connect(t)
	for range 20 {
		h := newHandover(t)
		if err := h.new.link.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
				t.Errorf("got %v", err)
			}
		}
	}
	unheard, theirs, err := newOutlet(handoff.TransferPair)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	defer unheard.close()
	if err := unheard.present().offer(t.Context(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn)); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("before anybody has heard of it: %v", err)
	}
}

// Who waits for a place can think better of it, and leaves the others as they are.
func TestTransferWaitsForAPlace(t *testing.T) {
	h := newHandover(t)
	_, server := connect(t)
	var answers []<-chan error
	for range maxUnanswered {
		answer, err := h.old.send(t.Context(), &handoff.Offer{Name: "other"}, server.(*net.TCPConn), 1)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
	enough := errors.New("enough")
	ended, end := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, enough)
	defer end()
	for range 2 { // at first it waits, and then it does not
		if err := h.old.offer(ended, &handoff.Offer{Name: "lines"}, server.(*net.TCPConn)); !errors.Is(err, enough) {
			t.Errorf("got %v, want the context's cause", err)
		}
	}
	h.receive()
	for _, answer := range answers {
		if err := <-answer; !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
		h.old.release(1)
	}
	client, server := connect(t)
	for range 20 { // nor does it begin when it is too late
		if err := h.old.offer(ended, &handoff.Offer{Name: "lines"}, server.(*net.TCPConn)); !errors.Is(err, enough) {
			t.Errorf("with places free: %v", err)
		}
	}
	if err := h.offer(server, "lines", ""); err != nil {
		t.Error(err)
	}
	server.Close()
	says(t, client, "hello\n", "hello\n")
}
