//go:build linux

package gracehttp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// stressClient sends one request after another in pieces, often with a piece of the next one.
type stressClient struct {
	*stress
	name string
	conn net.Conn // nil while there is none
	in   *bufio.Reader
	sent int // bytes of the next request that were sent early
	done int // answered requests
	err  error
}

func (c *stressClient) run() error {
	for c.err == nil && (c.sent > 0 || !c.stop.Load()) {
		c.err = c.ask()
	}
	c.hangUp()
	return c.err
}

func (c *stressClient) path(n int) string { return fmt.Sprint("/", c.name, ".", n) }

// wire returns the bytes of a request and the body of its response.
func (c *stressClient) wire(n int) (request, answer string) {
	path := c.path(n)
	if n%3 > 0 {
		return "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n", "GET " + path + " "
	}
	body := strings.Repeat("x", n%700)
	request = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body)
	return request, "POST " + path + " " + body
}

func (c *stressClient) ask() error {
	if err := c.connect(); err != nil {
		return err
	}
	request, answer := c.wire(c.done)
	rest, early := request[c.sent:], ""
	if next, _ := c.wire(c.done + 1); rand.IntN(3) == 0 {
		early = next[:aPart(next)]
	}
	if err := c.send(rest, early); err != nil {
		return fmt.Errorf("send %q: %w", rest, err)
	}
	c.sent = len(early)
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("the response to %q: %w", request, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || string(text) != answer {
		return fmt.Errorf("the response to %q is %q, %v", request, text, err)
	}
	c.done++
	if resp.Close || c.sent == 0 && rand.IntN(10) == 0 {
		c.hangUp()
		c.sent = 0 // after the last response, it was not processed
	}
	return nil
}

// aPart chooses where to cut a request: often where a reader might think that nothing is missing.
func aPart(request string) int {
	switch rand.IntN(3) {
	case 0:
		return strings.Index(request, "\n") + 1
	case 1:
		return 1 + rand.IntN(4)
	}
	return 1 + rand.IntN(len(request))
}

// send sends a request and a part of the next one in pieces. An error after the request is fine:
// its response may be the last one.
func (c *stressClient) send(request, early string) error {
	for text := request + early; text != ""; {
		n := len(text)
		if rand.IntN(2) == 0 {
			n = 1 + rand.IntN(len(text))
		}
		_, err := io.WriteString(c.conn, text[:n])
		switch {
		case err != nil && len(text) <= len(early):
			return nil
		case err != nil:
			return err
		}
		text = text[n:]
		if rand.IntN(4) == 0 {
			time.Sleep(rand.N(200 * time.Microsecond))
		}
	}
	return nil
}

func (c *stressClient) connect() error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.ln.Addr().String())
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	return c.conn.SetDeadline(time.Now().Add(c.patience))
}

func (c *stressClient) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
