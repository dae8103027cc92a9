package gracehttp

import (
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// selfTestConn is a connection in memory for a self-test. Its deadlines only interrupt, and never
// pass.
type selfTestConn struct {
	idleTracker
	rule   idleRule
	result chan bool     // whether the Read that finds nothing waits for the next request
	over   chan struct{} // closed with the connection

	mu            sync.Mutex // guards the fields below
	changed       *sync.Cond
	now           []byte // to be read
	during, after []byte
	waited        bool // a Read has waited for the end of the client, or has got its byte
	interrupted   bool
	closed        bool
}

func newSelfTestConn(t selfTest, rule idleRule) *selfTestConn {
	c := &selfTestConn{
		rule: rule, result: make(chan bool, 1), over: make(chan struct{}),
		now: []byte(t.sent), during: []byte(t.during), after: []byte(t.after),
	}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// Read works like that of handover.
func (c *selfTestConn) Read(b []byte) (int, error) {
	idle := c.enter(len(b), c.rule)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.move(len(b))
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.interrupted:
			return 0, os.ErrDeadlineExceeded
		case len(c.now) > 0:
			n := copy(b, c.now)
			c.now = c.now[n:]
			c.change(waiting, busy)
			return n, nil
		case len(b) > 1:
			select {
			case c.result <- idle:
			default: // the first one counts
			}
		}
		c.changed.Wait()
	}
}

// move makes the next bytes arrive when it is time for them; mu is held. http.Server reads a single
// byte only to wait for the end of the client.
func (c *selfTestConn) move(size int) {
	if len(c.now) > 0 {
		return
	}
	if size == 1 {
		c.now, c.during = c.during, nil
		c.waited = true
		c.changed.Broadcast()
		return
	}
	if len(c.during) == 0 {
		c.now, c.after = c.after, nil
	}
}

// awaitWait returns when http.Server waits for the end of the client. A handler calls it.
func (c *selfTestConn) awaitWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && (!c.waited || len(c.now) > 0) {
		c.changed.Wait()
	}
}

func (c *selfTestConn) handle(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/wait":
		c.awaitWait()
	case "/ignore":
	case "/hijack":
		if _, buffered, err := http.NewResponseController(w).Hijack(); err == nil {
			go buffered.Peek(1) //nolint:errcheck // ends with the connection
		}
		return
	case "/buffer": // the most misleading thing that a handler can do
		ctl := http.NewResponseController(w)
		_ = ctl.SetReadDeadline(time.Time{})
		_, _ = r.Body.Read(make([]byte, 4096))
	default:
		_, _ = io.Copy(io.Discard, r.Body)
	}
	_, _ = io.WriteString(w, "ok")
}

func (c *selfTestConn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(t, func(t time.Time) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.interrupted = !t.IsZero() && time.Since(t) > time.Hour
		c.changed.Broadcast()
		return nil
	})
}

func (c *selfTestConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.over)
		c.changed.Broadcast()
	}
	return nil
}

func (c *selfTestConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *selfTestConn) SetWriteDeadline(time.Time) error { return nil }
func (c *selfTestConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c *selfTestConn) LocalAddr() net.Addr              { return singleAddr{} }
func (c *selfTestConn) RemoteAddr() net.Addr             { return singleAddr{} }
