//go:build linux

package transfer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/handoff"
)

// An errorAt is an injected error of a link.
type errorAt struct {
	side  string // whose calls fail: "old" or "new"
	reads bool   // or writes
	nth   int    // call
	times int
	err   error
}

func (e errorAt) String() string {
	what := map[bool]string{true: "read", false: "write"}[e.reads]
	return fmt.Sprintf("%s, %s %d and in all %d: %v", e.side, what, e.nth, e.times, e.err)
}

// errorSocket fails as an errorAt says.
type errorSocket struct {
	handoff.Socket
	errorAt

	mu    sync.Mutex
	calls int
}

func (s *errorSocket) fault(reads bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reads != s.reads {
		return nil
	}
	if s.calls++; s.calls >= s.nth && s.calls < s.nth+s.times {
		return s.err
	}
	return nil
}

func (s *errorSocket) Read(b []byte) (int, error) {
	if err := s.fault(true); err != nil {
		return 0, err
	}
	return s.Socket.Read(b)
}

func (s *errorSocket) ReadWith(b, oob []byte) (n, oobn int, err error) {
	if err := s.fault(true); err != nil {
		return 0, 0, err
	}
	return s.Socket.ReadWith(b, oob)
}

func (s *errorSocket) Write(b []byte) (int, error) {
	if err := s.fault(false); err != nil {
		return 0, err
	}
	return s.Socket.Write(b)
}

func (s *errorSocket) WriteNow(b []byte) (int, error) {
	if err := s.fault(false); err != nil {
		return 0, err
	}
	return s.Socket.WriteNow(b)
}

func (s *errorSocket) WriteWith(b, oob []byte) (int, error) {
	if err := s.fault(false); err != nil {
		return 0, err
	}
	return s.Socket.WriteWith(b, oob)
}

// Whichever read or write fails, once or from then on, each connection has one owner, which answers
// its client.
func TestErrorsOfALink(t *testing.T) {
	t.Parallel()
	// A link gives up after nine attempts: then one message fails, and the next one need not.
	const once, message, forever = 1, 10, 1 << 20
	for _, side := range []string{"old", "new"} {
		for _, reads := range []bool{false, true} {
			for _, times := range []int{once, message, forever} {
				for nth := 1; nth <= 5; nth++ {
					err := []error{syscall.EIO, io.ErrNoProgress}[nth%2]
					e := errorAt{side, reads, nth, times, err}
					t.Run(e.String(), func(t *testing.T) {
						t.Parallel()
						transferUnder(t, e)
					})
				}
			}
		}
	}
}

// transferUnder transfers connections one after another, and then some at once.
func transferUnder(t *testing.T, e errorAt) {
	h, link := newUnreadHandover(t)
	broken := map[string]*handoff.Link{"old": h.old.link, "new": link}[e.side]
	broken.Wrap(func(s handoff.Socket) handoff.Socket { return &errorSocket{Socket: s, errorAt: e} })
	h.run()
	h.receiver = h.newReceiver(link)
	remove, err := h.receiver.handlers.Add("lines", func(c net.Conn, _ []byte) { say(c, "new") })
	if err != nil {
		t.Fatal(err)
	}
	h.done.Go(func() { h.receiver.Run(context.Background()) }) // ends with the link
	clients := make([]net.Conn, 7)
	var offers sync.WaitGroup
	for i := range clients {
		client, server := connect(t)
		clients[i] = client
		offer := func() {
			if err := h.offer(server, "lines", ""); err != nil {
				go say(server, "old") // ends with the connection
				return
			}
			server.Close()
		}
		if i < 3 {
			offer()
		} else {
			offers.Go(offer)
		}
	}
	offers.Wait()
	h.endDrain() // both sides settle what is unsure
	h.done.Wait()
	for i, c := range clients {
		wantOneOwner(t, i, c)
	}
	for _, c := range clients {
		c.Close()
	}
	remove()
}

// say answers each line with a name.
func say(c net.Conn, name string) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		if _, err := io.WriteString(c, name+"\n"); err != nil {
			return
		}
	}
}

// wantOneOwner asserts that every line of a client is answered, by the same process.
func wantOneOwner(t *testing.T, i int, client net.Conn) {
	t.Helper()
	in := bufio.NewReader(client)
	owner := ""
	for range 50 {
		_, err := io.WriteString(client, "whose?\n")
		answer := ""
		if err == nil {
			answer, err = in.ReadString('\n')
		}
		if owner == "" {
			owner = answer
		}
		if err != nil || answer != owner {
			t.Errorf("connection %d of %q is answered by %q, %v", i, owner, answer, err)
			return
		}
	}
}
