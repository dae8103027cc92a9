//go:build linux

package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
)

// A connection that a process offered and did not revoke before its death is the successor's.
func TestOfferByAProcessThatDies(t *testing.T) {
	h := newHandover(t)
	client, server := connect(t)
	answer := h.begin(server)
	h.old.link.Close() // as its end does
	server.Close()
	if err := <-answer; !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("got %v", err)
	}
	h.receive()
	says(t, client, "hello\n", "hello\n")
}

// The end of a link that says nothing for sure is not taken for the death of the old process.
func TestOfferFromALinkThatEndsOtherwise(t *testing.T) {
	for name, last := range map[string]string{
		"in the middle of a message": "\x00\x00\x00\x05M",
		"with another message":       "\x00\x00\x00\x01R",
		"with a single offer of old": "\x00\x00\x00\x01O",
		"with what is not a message": "HTTP/1.1 400 Bad Request",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandover(t)
			client, server := connect(t)
			h.begin(server)
			write(t, h.old.link, last)
			h.old.link.Close()
			h.receive()
			h.keeps(client, server)
		})
	}
}

// write writes bytes that may not be a message.
func write(t *testing.T, l *handoff.Link, bytes string) {
	t.Helper()
	control(t, l, func(fd int) error {
		_, err := unix.Write(fd, []byte(bytes))
		return err
	})
}

// An old process that lives may keep using its connections, whatever has become of its link. After
// the end of the link it has some time to end too.
func TestEndOfTheOldProcess(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		ours  bool
	}{
		"in time": {goneTimeout - 1, true},
		"late":    {goneTimeout + 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				gone := make(chan struct{})
				time.AfterFunc(c.after, func() { close(gone) })
				ours := settleOne(t, gone)
				waited := time.Since(start)
				if waited != min(c.after, goneTimeout) || ours != c.ours {
					t.Errorf("after %v, the new process has it: %v", waited, ours)
				}
			})
		})
	}
}

// settleOne lets a receiver settle one unsure connection, and reports whether a handler was called.
func settleOne(t *testing.T, gone <-chan struct{}) (ours bool) {
	t.Helper()
	var calls sync.WaitGroup
	handlers := NewHandlers(func() { calls.Add(1) }, calls.Done)
	_, err := handlers.Add("lines", func(c net.Conn, _ []byte) {
		ours = true
		c.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	unsure, err := handlers.begin("lines")
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	unsure.conn = server
	r := &Receiver{gone: gone, handlers: handlers, unsure: []*call{unsure}}
	r.settle(t.Context(), io.EOF)
	calls.Wait()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is not closed: %v", err)
	}
	return ours
}

// The new process does not wait for that beyond its own drain.
func TestEndOfTheDrainBeforeThatOfTheOldProcess(t *testing.T) {
	h := newHandover(t)
	h.receiver.gone = nil // it lives
	client, server := connect(t)
	h.begin(server)
	h.old.link.Close()
	h.handle()
	end := h.receiver.takeOffers(t.Context())
	if end != io.EOF || len(h.receiver.unsure) != 1 {
		t.Errorf("%d connections are unsure after %v", len(h.receiver.unsure), end)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.receiver.settle(ctx, end)
	h.keeps(client, server)
}

// A connection that its client has reset on the way stays with the old process, which finds that
// out by itself.
func TestOfferOfAConnectionThatIsReset(t *testing.T) {
	h := newHandover(t)
	h.receive()
	client, server := connect(t)
	_, err := io.WriteString(client, "the last words")
	if err := errors.Join(err, client.(*net.TCPConn).SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "the connection is reset", func() bool { return !hasPeer(t, server) })
	if err := h.offer(server, "lines", ""); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	got, err := io.ReadAll(server)
	if string(got) != "the last words" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("then the old process reads %q, %v", got, err)
	}
	h.transfersAnother()
	if n := h.taken.Load(); n != 1 {
		t.Errorf("the new process took %d connections", n)
	}
}

// hasPeer asks the system, because package net remembers an address.
func hasPeer(t *testing.T, c net.Conn) (has bool) {
	t.Helper()
	control(t, c.(*net.TCPConn), func(fd int) error {
		_, err := unix.Getpeername(fd)
		has = err == nil
		return nil
	})
	return has
}
