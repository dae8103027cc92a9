//go:build linux

package transfer

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/handoff"
)

// patience bounds the wait for something that will happen.
const patience = 30 * time.Second

// handover is both sides of the transfers of an upgrade, in one process.
type handover struct {
	t        *testing.T
	sender   *Sender
	old      *stream // the sender's first
	receiver *Receiver
	endDrain context.CancelFunc // of the old process

	remove func()         // the handler of receive
	taken  atomic.Int32   // the number of its calls
	done   sync.WaitGroup // the receivers
	calls  sync.WaitGroup // of all handlers
}

// newHandover begins to transfer. The new process takes nothing before receive.
func newHandover(t *testing.T) *handover {
	t.Helper()
	h, link := newUnreadHandover(t)
	h.run()
	h.receiver = h.newReceiver(link)
	return h
}

// newUnreadHandover returns one whose old process does not read answers before run, and the link of
// the new process.
func newUnreadHandover(t *testing.T) (*handover, *handoff.Link) {
	t.Helper()
	sender, end, err := NewSender(handoff.TransferPair)
	if err != nil {
		t.Fatal(err)
	}
	h := &handover{t: t, sender: sender, old: sender.current()}
	t.Cleanup(h.calls.Wait)
	link, err := handoff.NewLink(end)
	if err != nil {
		t.Fatal(err)
	}
	return h, link
}

// run lets the old process read answers until the end of its drain.
func (h *handover) run() {
	ctx, end := context.WithCancel(context.Background())
	h.endDrain = end
	ran := make(chan struct{})
	go func() { // ends with ctx
		defer close(ran)
		h.sender.Run(ctx)
	}()
	h.t.Cleanup(func() { end(); <-ran; h.sender.Close() })
}

// newReceiver makes a receiver of the connections of a process that is gone once its link ends.
func (h *handover) newReceiver(l *handoff.Link) *Receiver {
	gone := make(chan struct{})
	close(gone)
	h.t.Cleanup(func() { l.Close() })
	return NewReceiver(1, l, gone, NewHandlers(func() { h.calls.Add(1) }, h.calls.Done))
}

// receive lets the new process take connections for the handler "lines", which echoes.
func (h *handover) receive() {
	h.t.Helper()
	h.handle()
	h.done.Go(func() { h.receiver.Run(context.Background()) }) // ends with the link
	h.t.Cleanup(h.finish)
}

// handle adds the handler "lines", which echoes.
func (h *handover) handle() {
	h.t.Helper()
	var err error
	h.remove, err = h.receiver.handlers.Add("lines", func(c net.Conn, state []byte) {
		h.taken.Add(1)
		echo(c, state)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// finish ends the transfers on both sides.
func (h *handover) finish() {
	h.endDrain()
	h.old.close()
	h.done.Wait()
}

// redirect makes the new process send the connections of the old one elsewhere, and returns the
// receiver of the next process.
func (h *handover) redirect() *Receiver {
	h.t.Helper()
	redirects := NewRedirects([]*Receiver{h.receiver}, handoff.TransferPair)
	if len(redirects) != 1 || redirects[0].Generation != 1 {
		h.t.Fatalf("the redirects are %+v", redirects)
	}
	redirects.Send(h.t.Context())
	link, err := handoff.NewLink(redirects[0].End)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.newReceiver(link)
}

// keeps asserts that the old process alone has the connection, which then ends.
func (h *handover) keeps(client, server net.Conn) {
	h.t.Helper()
	go echo(server, nil) // ends with the connection
	for range 100 {
		says(h.t, client, "hello\n", "hello\n")
	}
	client.Close()
	h.finish()
	h.remove()
	if n := h.taken.Load(); n > 0 {
		h.t.Errorf("the new process took %d connections", n)
	}
}

// offer offers a connection over the first link.
func (h *handover) offer(c net.Conn, name, state string) error {
	offer := handoff.Offer{Name: name, State: state}
	return h.old.offer(context.Background(), offer, c.(*net.TCPConn))
}

// begin offers a connection to "lines" over the first link, and returns when the offer is sent.
func (h *handover) begin(c net.Conn) (answer <-chan error) {
	h.t.Helper()
	before := h.unanswered()
	answer = h.start(c, "lines", "")
	h.awaitOffers(before+1, 0)
	return answer
}

// unanswered returns how many offers are sent over the first link and not answered.
func (h *handover) unanswered() (n int) {
	h.old.mu.Lock()
	defer h.old.mu.Unlock()
	for _, m := range h.old.sent {
		n += len(m.offers)
	}
	return n
}

// start begins to offer a connection over the first link.
func (h *handover) start(c net.Conn, name, state string) (answer <-chan error) {
	returned := make(chan error, 1)
	go func() { returned <- h.offer(c, name, state) }() // ends with the answer
	return returned
}

// awaitOffers waits until so many offers are sent and not answered, and so many are not sent.
func (h *handover) awaitOffers(sent, queued int) {
	h.t.Helper()
	awaitThat(h.t, "the offers are made", func() bool {
		h.old.mu.Lock()
		waiting, busy := len(h.old.queue), h.old.busy
		h.old.mu.Unlock()
		return !busy && waiting == queued && h.unanswered() == sent
	})
}

// startSend sends a connection to "lines", wherever the sender leads.
func (h *handover) startSend(c net.Conn, state string) (result <-chan error) {
	returned := make(chan error, 1)
	go func() { // ends with the answer
		returned <- h.sender.Send(context.Background(), "lines", c.(*net.TCPConn), []byte(state))
	}()
	return returned
}

// echo answers each line with itself. The first one begins with the state.
func echo(c net.Conn, state []byte) {
	defer c.Close()
	for in := bufio.NewScanner(io.MultiReader(strings.NewReader(string(state)), c)); in.Scan(); {
		if _, err := io.WriteString(c, in.Text()+"\n"); err != nil {
			return
		}
	}
}

// connect returns both ends of a connection.
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

// says sends a text, and checks the answer.
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

func awaitThat(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
