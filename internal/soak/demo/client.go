package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// client sends one request after another and never retries. It writes them by hand, because
// [http.Client] would silently send some again.
type client struct {
	name      string
	addr      string
	keepAlive bool          // one connection for all requests, until the server closes it
	think     time.Duration // the shortest pause between two requests; the longest is twice that
	patience  time.Duration // for a request, from dialing to the last byte of its answer

	conn   net.Conn // nil while there is none
	reader *bufio.Reader
	dials  int
	tally  tally
}

// request is the text that a client sends, and the answer that it expects.
type request struct {
	text string
	want string
}

// answer is what a client learns from an answer.
type answer struct {
	pid   string
	close bool // the connection, as the server asks
}

// run sends requests until the context ends, and finishes the last one.
func (c *client) run(ctx context.Context) {
	defer c.hangUp()
	for n := 1; ctx.Err() == nil; n++ {
		begin := time.Now()
		a, err := c.exchange(c.compose(n))
		c.tally.add(time.Since(begin), a.pid, err)
		if err != nil || a.close || !c.keepAlive {
			c.hangUp()
		}
		time.Sleep(c.think + rand.N(c.think))
	}
}

// compose returns the nth request. Every tenth is slow to answer, every fifth has a body.
func (c *client) compose(n int) request {
	id := fmt.Sprintf("%s-%d", c.name, n)
	method, path, header, body := http.MethodGet, "/", "", ""
	if n%10 == 0 {
		path = slowPath
	}
	if n%5 == 1 {
		body = strings.Repeat(id+" ", 1+rand.N(200))
		method, header = http.MethodPost, fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if !c.keepAlive {
		header += "Connection: close\r\n"
	}
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: demo\r\n%s: %s\r\n%s\r\n%s",
		method, path, idHeader, id, header, body)
	return request{text: text, want: id + "\n" + body}
}

// exchange sends a request and reads its answer.
func (c *client) exchange(r request) (answer, error) {
	deadline := time.Now().Add(c.patience)
	if err := c.connect(deadline); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(c.conn, r.text); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it is read below
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return answer{}, err
	case resp.StatusCode != http.StatusOK:
		return answer{}, errors.New("status " + strconv.Itoa(resp.StatusCode))
	case string(body) != r.want:
		return answer{}, errors.New("unexpected answer")
	}
	return answer{pid: resp.Header.Get(pidHeader), close: resp.Close}, nil
}

// connect opens a connection unless one is open.
func (c *client) connect(deadline time.Time) error {
	if c.conn == nil {
		conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
		c.dials++
	}
	return c.conn.SetDeadline(deadline)
}

func (c *client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // its last answer has come, or never will
		c.conn = nil
	}
}

// kind returns the text of an error without its addresses, which differ each time.
func kind(err error) string {
	var op *net.OpError
	var call *os.SyscallError
	switch {
	case errors.As(err, &call):
		return call.Error()
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
