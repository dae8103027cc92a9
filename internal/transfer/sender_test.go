//go:build linux

package transfer

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

// A nil Sender leads nowhere, and has nothing to do.
func TestNilSender(t *testing.T) {
	s, end, err := NewSender(nil)
	if s != nil || end != nil || err != nil {
		t.Errorf("without a pair, NewSender returned %v, %v, %v", s, end, err)
	}
	_, server := connect(t)
	if err := s.Send(t.Context(), "lines", server.(*net.TCPConn), nil); err != ErrNoSuccessor {
		t.Errorf("got %v", err)
	}
	s.Run(t.Context())
	s.Close()
	if n := s.Taken(); n != 0 {
		t.Errorf("%d connections were taken", n)
	}
}

// An offer that cannot be right is not sent.
func TestSendOfWhatIsWrong(t *testing.T) {
	_, server := connect(t)
	c := server.(*net.TCPConn)
	for want, offer := range map[string]struct {
		name string
		c    syscall.Conn
		size int
	}{
		"the connection is nil":                      {"lines", nil, 0},
		"the state has 65537 bytes, more than 65536": {"lines", c, MaxState + 1},
		"name":                 {"", c, 0},
		ErrNoSuccessor.Error(): {"lines", c, MaxState},
	} {
		err := (*Sender)(nil).Send(t.Context(), offer.name, offer.c, make([]byte, offer.size))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// The end of the successor is the same error, whoever notices it first.
func TestSendToASuccessorThatHasEnded(t *testing.T) {
	_, server := connect(t)
	for range 20 {
		h := newHandover(t)
		h.receiver.Close()
		for range 2 {
			if err := h.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
				t.Errorf("got %v", err)
			}
		}
	}
	unread, link := newUnreadHandover(t)
	link.Close()
	defer unread.sender.Close()
	if err := unread.offer(server, "lines", ""); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("before anybody reads: %v", err)
	}
}
