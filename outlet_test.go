//go:build linux

package grace

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/handoff"
)

// What a process refuses that has been replaced meanwhile goes to its successor.
func TestRefusedByAProcessThatHasBeenReplaced(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	result := make(chan error, 1)
	go func() {
		result <- h.out.offer(context.Background(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn))
	}()
	awaitThat(t, "the offer", func() bool {
		h.old.mu.Lock()
		defer h.old.mu.Unlock()
		return len(h.old.waiting) == 1
	})
	ours, theirs, err := handoff.TransferPair()
	if err != nil {
		t.Fatal(err)
	}
	h.new.redirect(t.Context(), ours)
	ours.Close()
	link, err := handoff.NewLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	next := newIncoming(link)
	if _, err := next.takers.add("lines", echo); err != nil {
		t.Fatal(err)
	}
	h.done.Go(func() { h.new.receive(t.Context()) }) // and refuses: it has no function
	h.done.Go(func() { next.receive(t.Context()) })
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	server.Close()
	says(t, client, "hello\n", "hello\n")
	client.Close()
	if n := h.out.count(); n != 1 {
		t.Errorf("%d connections were taken", n)
	}
	h.end()
	h.done.Wait()
}

// What it has not answered before its end does so, too.
func TestOfferToAProcessThatHasBeenReplacedAndEnds(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	result := make(chan error, 1)
	go func() { // ends with the answer
		result <- h.out.offer(context.Background(), &handoff.Offer{Name: "lines", State: "half "}, server.(*net.TCPConn))
	}()
	_, file, err := h.new.link.ReceiveWith(t.Context())
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := handoff.TransferPair()
	if err != nil {
		t.Fatal(err)
	}
	h.new.redirect(t.Context(), ours)
	ours.Close()
	h.new.link.Close()
	link, err := handoff.NewLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	h.new = newIncoming(link)
	h.receive()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	server.Close()
	says(t, client, "a line\n", "half a line\n")
}

// The end of a process can be noticed before what it has said: that counts.
func TestOfferToAProcessThatHasEndedBeforeItIsHeard(t *testing.T) {
	out, theirs, err := newOutlet(handoff.TransferPair)
	if err != nil {
		t.Fatal(err)
	}
	link, err := handoff.NewLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := handoff.TransferPair()
	if err != nil {
		t.Fatal(err)
	}
	newIncoming(link).redirect(t.Context(), ours)
	ours.Close()
	link.Close()
	client, server := connect(t)
	result := make(chan error, 1)
	go func() { // ends with the answer
		result <- out.offer(context.Background(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn))
	}()
	first := out.present()
	awaitThat(t, "the end is noticed", func() bool { return first.sending.Err() != nil })
	link, err = handoff.NewLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	h := &handover{t: t, out: out, old: first, end: end, new: newIncoming(link)}
	h.done.Go(func() { out.hear(ctx) }) // ends with ctx
	h.receive()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	server.Close()
	says(t, client, "hello\n", "hello\n")
}

// A redirect whose descriptor was lost, or is no link, changes nothing.
func TestRedirectThatLeadsNowhere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, to := range map[string]syscall.Conn{"lost": nil, "no socket": r} {
		t.Run(name, func(t *testing.T) {
			h := newHandover(t)
			if to == nil {
				err = h.new.send(t.Context(), &handoff.Redirect{})
			} else {
				err = h.new.link.SendWith(t.Context(), &handoff.Redirect{}, to)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.receive()
			client, server := connect(t)
			if err := h.out.offer(t.Context(), &handoff.Offer{Name: "chat"}, server.(*net.TCPConn)); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
			if err := h.out.offer(t.Context(), &handoff.Offer{Name: "lines"}, server.(*net.TCPConn)); err != nil {
				t.Error(err)
			}
			server.Close()
			says(t, client, "hello\n", "hello\n")
		})
	}
}
