//go:build linux

package grace

import (
	"context"
	"net"
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
