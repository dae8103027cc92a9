//go:build linux

package gracehttp

import (
	"context"
	"errors"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// slowSuccessor takes or refuses connections when the test says so.
type slowSuccessor struct {
	offered chan struct{}
	answer  chan sendFunc
}

func newSlowSuccessor() *slowSuccessor {
	return &slowSuccessor{offered: make(chan struct{}, 1), answer: make(chan sendFunc)}
}

func (s *slowSuccessor) take(ctx context.Context, name string, c syscall.Conn, state []byte) error {
	s.offered <- struct{}{}
	return (<-s.answer)(ctx, name, c, state)
}

// hearsNothing checks that a client hears nothing for a while.
func (c *connection) hearsNothing(d time.Duration) {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.reader.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("it hears something, or %v", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
}

// A connection may be offered to the successor for longer than the grace period. It is not closed
// meanwhile. A request that arrives then is answered by the process that has the connection in the
// end.
func TestHandoverOutlastsTheGrace(t *testing.T) {
	const tooLong = leaveTime + interruptTime + time.Second // an idle connection would be closed
	for name, c := range map[string]struct {
		grace               time.Duration
		used, asks, refuses bool
		answer              string // after the offer; empty if there is none
	}{
		"idle, taken":         {used: true, answer: "new"},
		"idle, asks, taken":   {used: true, asks: true, grace: leaveTime / 2, answer: "new"},
		"idle, refused":       {used: true, refuses: true},
		"idle, asks, refused": {used: true, asks: true, refuses: true, answer: "old"},
		"idle, asks, refused, a short grace": {
			used: true, asks: true, refuses: true, grace: leaveTime / 2, answer: "old",
		},
		"silent, taken":         {answer: "new"},
		"silent, refused":       {refuses: true},
		"silent, asks, refused": {asks: true, refuses: true, answer: "old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := newSlowSuccessor()
			old := newNode(t, &http.Server{Handler: names("old")},
				WithIdleHandover(), WithIdleGrace(c.grace))
			next := newNode(t, &http.Server{Handler: names("new")})
			old.transferTo(slow.take)
			client := old.dial()
			if c.used {
				client.get("/")
			} else {
				eventually(t, "held", func() bool { return len(old.ln.idleConns()) == 1 })
			}
			drained := old.drainAfterUpgrade()
			within(t, "offer", slow.offered)
			if c.asks {
				client.send(plainGet)
			}
			client.hearsNothing(tooLong)
			if c.refuses {
				slow.answer <- refused
			} else {
				slow.answer <- next.take
			}
			client.finds(c.answer, !c.asks, c.refuses)
			old.finish(drained)
		})
	}
}

// finds checks which process answers, if one does, and whether the connection ends.
func (c *connection) finds(answer string, ask, end bool) {
	c.t.Helper()
	if answer != "" {
		if ask {
			c.send(plainGet)
		}
		if body, last := c.read(); body != answer || last != end {
			c.t.Errorf("got %q, last: %t", body, last)
		}
	}
	if end {
		c.end()
	}
}
