//go:build linux

package transfer

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

// A connection that a replaced process refuses goes to its successor.
func TestRefusedByAProcessThatHasBeenReplaced(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	result := h.startSend(server, "")
	h.awaitOffers(1, 0)
	next := h.redirect()
	if _, err := next.handlers.Add("lines", echo); err != nil {
		t.Fatal(err)
	}
	h.done.Go(func() { h.receiver.Run(t.Context()) }) // and refuses: it has no handler
	h.done.Go(func() { next.Run(t.Context()) })
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	server.Close()
	says(t, client, "hello\n", "hello\n")
	client.Close()
	if n := h.sender.Taken(); n != 1 {
		t.Errorf("%d connections were taken", n)
	}
	h.endDrain()
	h.done.Wait()
}

// So does one that a replaced process has not answered before its end.
func TestOfferToAProcessThatHasBeenReplacedAndEnds(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	result := h.startSend(server, "half ")
	_, files, err := h.receiver.link.ReceiveWith(t.Context())
	if err == nil {
		err = handoff.CloseAll(files)
	}
	if err != nil {
		t.Fatal(err)
	}
	next := h.redirect()
	h.receiver.Close()
	h.receiver = next
	h.receive()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	server.Close()
	says(t, client, "a line\n", "half a line\n")
}

// The end of a process can be noticed before its redirect is read. The redirect still counts.
func TestOfferToAProcessThatHasEndedBeforeItsRedirectIsRead(t *testing.T) {
	h, link := newUnreadHandover(t)
	h.receiver = h.newReceiver(link)
	next := h.redirect()
	h.receiver.Close()
	client, server := connect(t)
	result := h.startSend(server, "")
	awaitThat(t, "the end is noticed", func() bool { return h.old.sending.Err() != nil })
	h.run()
	h.receiver = next
	h.receive()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	server.Close()
	says(t, client, "hello\n", "hello\n")
}

// A redirect changes nothing if its descriptor is lost, or is not a link.
func TestRedirectThatLeadsNowhere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, to := range map[string]syscall.Conn{"lost": nil, "a pipe": r} {
		t.Run(name, func(t *testing.T) {
			h := newHandover(t)
			if to == nil {
				err = h.receiver.send(t.Context(), &handoff.Redirect{})
			} else {
				err = fds.Control(to, func(fd int) error {
					return h.receiver.link.SendWith(t.Context(), &handoff.Redirect{}, fd)
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			h.receive()
			client, server := connect(t)
			c := server.(*net.TCPConn)
			if err := h.sender.Send(t.Context(), "chat", c, nil); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
			if err := h.sender.Send(t.Context(), "lines", c, nil); err != nil {
				t.Error(err)
			}
			server.Close()
			says(t, client, "hello\n", "hello\n")
		})
	}
}

// A generation that offers nothing more needs no redirect, and one for which there is none to be
// had keeps its connections.
func TestRedirectsThatAreNotMade(t *testing.T) {
	h := newHandover(t)
	failing := func() (*handoff.Link, *os.File, error) { return nil, nil, syscall.EMFILE }
	for what, pair := range map[string]Pair{"no pair": nil, "a pair that fails": failing} {
		if all := NewRedirects([]*Receiver{h.receiver}, pair); len(all) > 0 {
			t.Errorf("with %s: %+v", what, all)
		}
	}
	h.receiver.Close()
	if all := NewRedirects([]*Receiver{h.receiver}, handoff.TransferPair); len(all) > 0 {
		t.Errorf("after the end: %+v", all)
	}
}
