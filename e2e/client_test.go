//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is clients that check each answer and never retry.
type load struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	requests int
	failures []string
}

func newLoad(t *testing.T) (context.Context, *load) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	t.Cleanup(func() { l.stop() }) // after a failure
	return ctx, l
}

// startLoad starts clients that write HTTP/1 by hand, on kept connections and on one for each
// request.
func startLoad(t *testing.T, addr string) *load {
	ctx, l := newLoad(t)
	for _, fresh := range []bool{false, true} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, path := range []string{"/echo", "/slow", "/large"} {
				c := &client{addr: addr, method: method, path: path, fresh: fresh}
				l.running.Go(func() { // ends with ctx
					defer c.hangUp()
					l.repeat(ctx, fmt.Sprintf("%s %s, fresh %v", method, path, fresh), c.ask)
				})
			}
		}
	}
	return l
}

// repeat asks with a new id until the context ends.
func (l *load) repeat(ctx context.Context, name string, ask func(id string) error) {
	for n := 0; ctx.Err() == nil; n++ {
		l.count(name, ask(fmt.Sprint("request-", n)))
		time.Sleep(2 * time.Millisecond) // wrk is to keep the machine busy
	}
}

func (l *load) count(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failures = append(l.failures, name+": "+err.Error())
	}
}

// stop ends the load, and returns how many requests there were and what went wrong.
func (l *load) stop() (requests int, failures []string) {
	l.cancel()
	l.running.Wait()
	return l.requests, l.failures
}

// checkWith ends the load and then the service. Each request has been answered, and handled once.
func (l *load) checkWith(s *service) totals {
	s.t.Helper()
	sent, failures := l.stop()
	had := s.stop()
	for _, f := range failures {
		s.t.Error(f)
	}
	if int(had.requests) != sent {
		s.t.Errorf("%d requests were sent, and %d handled", sent, had.requests)
	}
	return had
}

// client is a client with one connection at a time.
type client struct {
	addr, method, path string
	fresh              bool // whether each request has a connection of its own

	conn   net.Conn
	reader *bufio.Reader
}

// ask sends a request and checks the answer.
func (c *client) ask(id string) error {
	last, err := c.exchange(id)
	if last || err != nil {
		c.hangUp()
	}
	return err
}

func (c *client) exchange(id string) (last bool, err error) {
	if err := c.connect(); err != nil {
		return true, err
	}
	body := ""
	if c.method == http.MethodPost {
		body = strings.Repeat(id, 10)
	}
	req, err := http.NewRequest(c.method, "http://"+c.addr+c.path+"?id="+id, strings.NewReader(body))
	if err != nil {
		return true, err
	}
	req.Close = c.fresh
	if err := req.Write(c.conn); err != nil {
		return true, err
	}
	resp, err := http.ReadResponse(c.reader, req)
	if err != nil {
		return true, err
	}
	if c.path == "/large" {
		body = strings.Repeat(id, large) + body
	}
	return resp.Close, check(resp, answer{ID: id, Method: c.method, Body: body})
}

// check reads an answer to its end, and compares it with the expected one.
func check(resp *http.Response, want answer) error {
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	var got answer
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("the answer begins with %.100q: %w", text, err)
	}
	want.Generation, want.PID = got.Generation, got.PID
	if got != want {
		return fmt.Errorf("%s %s got an answer of %d bytes to %s %s",
			want.Method, want.ID, len(text), got.Method, got.ID)
	}
	return nil
}

func (c *client) connect() error {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, patience)
		if err != nil {
			return err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	return c.conn.SetDeadline(time.Now().Add(patience))
}

func (c *client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
