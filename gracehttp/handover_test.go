//go:build linux

package gracehttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
)

// usedConn returns a connection on which http.Server is about to read the next request, and its
// client.
func (n *node) usedConn(deadline time.Time) (*tcpConn, *connection) {
	n.t.Helper()
	server, client := pair(n.t)
	c := n.ln.wrap(server).(*tcpConn)
	c.http1.Store(true)
	c.note(http.StateIdle)
	if err := c.SetReadDeadline(deadline); err != nil {
		n.t.Fatal(err)
	}
	return c, client
}

// readResult is the result of a Read.
type readResult struct {
	text string
	err  error
}

// startRead reads the next request, and returns when the Read waits for it.
func startRead(t *testing.T, c *tcpConn) <-chan readResult {
	t.Helper()
	result := make(chan readResult, 1)
	go func() { // ends with the connection
		b := make([]byte, 4096)
		n, err := c.Read(b)
		result <- readResult{string(b[:n]), err}
	}()
	eventually(t, "waiting", func() bool { return c.now() == waiting })
	return result
}

func taken(context.Context, string, syscall.Conn, []byte) error { return nil }

func refused(context.Context, string, syscall.Conn, []byte) error { return errors.New("no") }

// An interruption of a connection that is about to leave by itself frees its slot.
func TestInterruptedWhenItIsAboutToLeave(t *testing.T) {
	n := newNode(t, &http.Server{}, WithIdleHandover())
	n.transferTo(taken)
	c, _ := n.usedConn(time.Time{})
	b := make([]byte, 4096)
	if !c.enter(len(b), c.rule) {
		t.Fatal("the Read does not wait for the next request")
	}
	n.begin(true)
	n.transfers.wake(t.Context(), c)
	if _, err := c.readNext(b); err != errHandedOver {
		t.Errorf("got %v", err)
	}
	n.checkDrained()
}

// A connection that is half-closed while it waits stays here and keeps waiting.
func TestHalfClosedWhileItWaits(t *testing.T) {
	for name, half := range map[string]struct {
		close func(*tcpConn) error
		want  readResult
	}{
		"CloseWrite": {close: (*tcpConn).CloseWrite, want: readResult{text: "more"}},
		"CloseRead":  {close: (*tcpConn).CloseRead, want: readResult{err: io.EOF}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, &http.Server{}, WithIdleHandover())
			n.transferNothing()
			c, client := n.usedConn(time.Time{})
			result := startRead(t, c)
			if err := half.close(c); err != nil {
				t.Fatal(err)
			}
			n.begin(true)
			n.transfers.wake(t.Context(), c)
			if _, err := io.WriteString(client, half.want.text); err != nil {
				t.Fatal(err)
			}
			if got := within(t, "end of the Read", result); got != half.want {
				t.Errorf("got %q, %v", got.text, got.err)
			}
			n.checkDrained()
		})
	}
}

// A hijacked connection stays, and so does one without a request of HTTP/1, whatever their reads
// look like.
func TestReadsThatOnlyLookIdle(t *testing.T) {
	for name, change := range map[string]func(*tcpConn){
		"hijacked":  func(c *tcpConn) { c.note(http.StateHijacked) },
		"no HTTP/1": func(c *tcpConn) { c.http1.Store(false) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, &http.Server{}, WithIdleHandover())
			n.transferNothing()
			c, client := n.usedConn(time.Time{})
			change(c)
			result := startRead(t, c)
			n.begin(true)
			n.transfers.wake(t.Context(), c)
			client.send("PRI")
			if got := within(t, "end of the Read", result); got != (readResult{text: "PRI"}) {
				t.Errorf("got %q, %v", got.text, got.err)
			}
			n.checkDrained()
		})
	}
}

// The outcome of an interruption depends on what else happens. Afterwards the deadline is again
// that of net/http.
func TestDeadlineAfterAnInterruption(t *testing.T) {
	for name, course := range map[string]struct {
		transfer sendFunc
		idle     time.Duration // that it may be
		send     string
		want     readResult
	}{
		"refused, and idle for too long": {
			transfer: refused, idle: time.Second / 4, want: readResult{err: os.ErrDeadlineExceeded},
		},
		"refused, and another request": {
			transfer: refused, idle: time.Hour, send: "GET", want: readResult{text: "GET"},
		},
		"refused, without a deadline": {
			transfer: refused, send: "GET", want: readResult{text: "GET"},
		},
		"the client closes the connection": {
			transfer: refused, idle: time.Hour, want: readResult{err: io.EOF},
		},
		"taken": {
			transfer: taken, idle: time.Hour, want: readResult{err: errHandedOver},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, &http.Server{}, WithIdleHandover())
			n.transferTo(course.transfer)
			var deadline time.Time
			if course.idle > 0 {
				deadline = time.Now().Add(course.idle)
			}
			c, client := n.usedConn(deadline)
			result := startRead(t, c)
			n.begin(true)
			n.transfers.wake(t.Context(), c)
			eventually(t, "back", func() bool { return len(n.transfers.awake) == 0 })
			if course.want.err == io.EOF {
				client.Close()
			} else if _, err := io.WriteString(client, course.send); err != nil {
				t.Fatal(err)
			}
			got := within(t, "end of the Read", result)
			if got.text != course.want.text || !errors.Is(got.err, course.want.err) {
				t.Errorf("got %q, %v", got.text, got.err)
			}
			n.checkDrained()
		})
	}
}

// A request that arrives just before the drain interrupts the wait for it is read by the old
// process, with the deadline of net/http instead of that of the interruption.
func TestRequestJustBeforeTheInterruption(t *testing.T) {
	n := newNode(t, &http.Server{}, WithIdleHandover())
	n.transferTo(taken)
	c, client := n.usedConn(time.Now().Add(time.Hour))
	if !c.enter(4096, c.rule) {
		t.Fatal("the Read does not wait for the next request")
	}
	n.begin(true)
	n.transfers.wake(t.Context(), c)
	if again, err := c.afterWake(1, nil); again || err != nil { // it has read a byte before
		t.Errorf("waits again: %v, %v", again, err)
	}
	n.checkDrained()
	if _, err := io.WriteString(client, "ET"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4095)
	if got, err := c.Read(b); string(b[:got]) != "ET" || err != nil {
		t.Errorf("got %q, %v", b[:got], err)
	}
	if c.now() != busy {
		t.Errorf("the phase is %d", c.now())
	}
}

// A connection whose idle timeout passes just before the interruption ends in the old process too.
func TestIdleTimeoutJustBeforeTheInterruption(t *testing.T) {
	n := newNode(t, &http.Server{}, WithIdleHandover())
	n.transferNothing()
	c, _ := n.usedConn(time.Now())
	if !c.enter(4096, c.rule) {
		t.Fatal("the Read does not wait for the next request")
	}
	n.begin(true)
	n.transfers.wake(t.Context(), c)
	if again, err := c.afterWake(0, os.ErrDeadlineExceeded); again || err == nil {
		t.Errorf("waits again: %v, %v", again, err)
	}
	n.checkDrained()
}

// A connection that is handed over keeps the rest of the time for which it may be idle or silent.
func TestTimeThatIsLeft(t *testing.T) {
	for _, left := range []time.Duration{0, time.Hour} {
		old := newNode(t, &http.Server{}, WithIdleHandover())
		next := newNode(t, &http.Server{IdleTimeout: time.Minute, ReadHeaderTimeout: time.Minute})
		old.transferTo(next.take)
		var deadline time.Time
		if left > 0 {
			deadline = time.Now().Add(left)
		}
		idle, _ := old.usedConn(deadline)
		silent, _ := pair(t)
		if !old.ln.hold(&idleConn{Conn: silent, deadline: deadline}) {
			t.Fatal("the connection is not held")
		}
		result := startRead(t, idle)
		drained := old.drainAfterUpgrade()
		old.transfers.wake(t.Context(), idle) // http.Server does not know it
		if got := within(t, "handover", result); got.err != errHandedOver {
			t.Errorf("got %q, %v", got.text, got.err)
		}
		old.finish(drained)
		eventually(t, "taken", func() bool { return len(next.ln.idleConns()) == 2 })
		for _, p := range next.ln.idleConns() {
			if p.deadline.IsZero() != deadline.IsZero() || deadline.Sub(p.deadline).Abs() > time.Minute {
				t.Errorf("the deadline is %v instead of %v", p.deadline, deadline)
			}
		}
	}
}

// When that time is over, the next process closes the connection.
func TestTimeThatIsOver(t *testing.T) {
	n := newNode(t, &http.Server{})
	ours, client := pair(t)
	n.ln.adopt(ours, []byte("1ms"))
	client.end()
	eventually(t, "forgotten", func() bool { return len(n.ln.idleConns()) == 0 })
}

// A connection on which a part of a request arrives in the drain has the grace period from then on.
func TestGraceOfAPartOfARequest(t *testing.T) {
	n := newNode(t, &http.Server{}, WithIdleHandover())
	n.transferTo(refused)
	c, client := n.usedConn(time.Time{})
	nc := newConn(c, n.server)
	nc.Conn = opaque{c, c} // the system does not say when something last arrived on it
	nc.state, nc.since = http.StateIdle, time.Now().Add(-time.Hour)
	n.begin(true)
	result := startRead(t, c)
	client.send("G")
	within(t, "first byte", result)
	for _, heard := range []time.Duration{0, time.Hour} {
		c.heard.Add(-heard.Nanoseconds())
		if nc.drain(2*patience, nc.since); nc.interrupted.IsZero() == (heard > 0) {
			t.Errorf("%v after the last byte it was interrupted: %t", heard, heard == 0)
		}
	}
}
