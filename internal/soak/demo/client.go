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

// client sends one request after the other, and tries none again. It writes them by hand, since [http.Client] would send some
// again in secret.
type client struct {
	name      string
	addr      string
	keepAlive bool          // one connection for all requests, for as long as the server likes
	think     time.Duration // between two requests, and up to as much again
	patience  time.Duration // for a request, from dialling to the last byte of its answer

	conn   net.Conn // nil while there is none
	reader *bufio.Reader
	dials  int
	tally  tally
}

// request is what a client sends, and the answer that it expects.
type request struct {
	text string
	want string
}

// answer is what a client got.
type answer struct {
	pid   string
	close bool // the server closes the connection
}

// run sends requests until the context ends; the last one is finished.
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

// compose writes the nth request. Each tenth is slow to answer, each fifth has a body.
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
	return request{
		text: fmt.Sprintf("%s %s HTTP/1.1\r\nHost: demo\r\n%s: %s\r\n%s\r\n%s", method, path, idHeader, id, header, body),
		want: id + "\n" + body,
	}
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
		return answer{}, errors.New("another answer than expected")
	}
	return answer{pid: resp.Header.Get(pidHeader), close: resp.Close}, nil
}

// connect opens a connection unless there is one.
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
		_ = c.conn.Close() // all that we wanted from it we have, or never will
		c.conn = nil
	}
}

// kind of an error, without the addresses, which are different each time.
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
