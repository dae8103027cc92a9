//go:build linux

package grace

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/handoff"
)

// handover is both sides of the transfers of an upgrade, in this process.
type handover struct {
	t   *testing.T
	old *transfers
	new *incoming
	end context.CancelFunc // of the old process's drain
}

// newHandover begins to transfer. The new process takes nothing before it is told to receive.
func newHandover(t *testing.T) *handover {
	t.Helper()
	out, theirs, err := newTransfers(handoff.Pair)
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
	dead := newAncestor(Process{}, newFakeLink(), unwatched{}, time.Time{})
	close(dead.ended) // it is, once the link has ended
	return &handover{t: t, old: out, end: end, new: &incoming{link: link, takers: newTakers(), parent: dead}}
}

// receive lets the new process take what it is offered. Those connections answer lines, beginning with the state that came along.
func (h *handover) receive() {
	h.t.Helper()
	if err := h.new.takers.add("lines", echo); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.new.receive(context.Background())
	}()
	h.t.Cleanup(func() { h.end(); h.old.close(); <-done })
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
	if err := h.offer(server2, "lines", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
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
	go echo(server, nil)
	h.receive() // it wakes up
	for range 100 {
		says(t, client, "hello\n", "hello\n")
	}
	if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("the next one: %v", err)
	}
	if h.old.count() != 0 {
		t.Error("a connection was taken")
	}
	client.Close()
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
	go echo(server, nil)
	for range 100 {
		says(t, client, "hello\n", "hello\n")
	}
	client.Close()
}
