//go:build linux

package gracehttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// load is clients of a service that try nothing again. (A request that a server has refused to process, by closing the connection
// after the answer to the one before, or by GOAWAY, was not tried.)
type load struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	requests int64
	failures []string
}

func startLoad(s *service, copies int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for i := range copies {
		for _, secure := range []bool{false, true} {
			for kind, compose := range kinds {
				c := &client{name: fmt.Sprintf("%s%d-%v", kind, i, secure), kind: kind, compose: compose, addr: s.plain, load: l}
				if secure {
					c.addr, c.trust = s.tls, s.trust
				}
				l.running.Go(func() { c.run(ctx) })
			}
			l.running.Go(func() { l.runHTTP2(ctx, s, fmt.Sprintf("http2-%d-%v", i, secure), secure) })
		}
	}
	return l
}

// stop ends the load, and tells how many requests there were, and what went wrong.
func (l *load) stop() (requests int64, failures []string) {
	l.cancel()
	l.running.Wait()
	return l.requests, l.failures
}

func (l *load) count(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%s: %v", what, err))
	}
}

// exchange is a request in pieces, between which the client waits, and the body of its answer.
type exchange struct {
	pieces []string
	want   string
	rest   *exchange // was sent at the same time
}

// kinds of clients that write HTTP/1 by hand.
var kinds = map[string]func(id string) exchange{
	"fresh":      func(id string) exchange { return get("/echo", id, "Connection: close\r\n") },
	"keep-alive": func(id string) exchange { return get("/echo", id, "") },
	"idle":       func(id string) exchange { return get("/echo", id, "") },
	"slow":       func(id string) exchange { return get("/slow", id, "") },
	"post":       func(id string) exchange { return post(id, 1, "") },
	"slow-body":  func(id string) exchange { return post(id, 5, "") },
	"expect":     func(id string) exchange { return post(id, 2, "Expect: 100-continue\r\n") },
	"chunked": func(id string) exchange {
		e := get("/echo", id, "Transfer-Encoding: chunked\r\n")
		e.pieces = append(e.pieces, fmt.Sprintf("%x\r\n%s\r\n", len(id), id), "3\r\nabc\r\n", "0\r\n\r\n")
		e.want += id + "abc"
		return e
	},
	"large": func(id string) exchange {
		e := get("/large", id, "")
		e.want = largeAnswer(id)
		return e
	},
	"pipelined": func(id string) exchange {
		e, second := get("/echo", id+"a", ""), get("/echo", id+"b", "")
		e.rest = &exchange{pieces: second.pieces, want: second.want}
		e.pieces = []string{e.pieces[0] + second.pieces[0]}
		return e
	},
}

func get(path, id, header string) exchange {
	return exchange{
		pieces: []string{fmt.Sprintf("GET %s HTTP/1.1\r\nHost: test\r\nX-Id: %s\r\n%s\r\n", path, id, header)},
		want:   id + "\n",
	}
}

// post sends a body in pieces, the first of which comes with the header unless the server is expected to say something before.
func post(id string, pieces int, header string) exchange {
	piece := strings.Repeat(id+" ", 50)
	e := exchange{want: id + "\n" + strings.Repeat(piece, pieces)}
	e.pieces = []string{fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: test\r\nX-Id: %s\r\nContent-Length: %d\r\n%s\r\n", id, pieces*len(piece), header)}
	for range pieces {
		e.pieces = append(e.pieces, piece)
	}
	return e
}

// client has one connection at a time.
type client struct {
	name, kind, addr string
	compose          func(id string) exchange
	trust            *tls.Config // nil without TLS
	load             *load

	conn   net.Conn
	reader *bufio.Reader
}

func (c *client) run(ctx context.Context) {
	defer c.hangUp()
	for n := 0; ctx.Err() == nil; n++ {
		e := c.compose(fmt.Sprintf("%s-%d", c.name, n))
		last, err := c.send(e.pieces)
		if err == nil {
			last, err = c.receive(e.want)
		}
		c.load.count(c.name, err)
		if e.rest != nil && err == nil {
			c.second(e.rest, last)
		}
		if err != nil || last {
			c.hangUp()
		}
		wait := 2 * time.Millisecond
		if c.kind == "idle" {
			wait = testGrace / 4
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// second receives the other answer of a pipelined pair, or sends its request on another connection if this one is over: the server
// says by that that it has not processed it (RFC 9112, section 9.6).
func (c *client) second(e *exchange, over bool) {
	var err error
	if over {
		c.hangUp()
		_, err = c.send(e.pieces)
	}
	last := true
	if err == nil {
		last, err = c.receive(e.want)
	}
	c.load.count(c.name+" second", err)
	if err != nil || last {
		c.hangUp()
	}
}

func (c *client) send(pieces []string) (last bool, err error) {
	if err := c.connect(); err != nil {
		return true, err
	}
	for i, piece := range pieces {
		if i > 0 {
			time.Sleep(2 * time.Millisecond)
		}
		if i == 1 && c.kind == "expect" {
			if line, err := c.reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
				return true, fmt.Errorf("no 100 Continue but %q: %w", line, err)
			}
			if _, err := c.reader.ReadString('\n'); err != nil {
				return true, err
			}
		}
		if _, err := io.WriteString(c.conn, piece); err != nil {
			return true, err
		}
	}
	return false, nil
}

func (c *client) connect() error {
	if c.conn != nil {
		return c.conn.SetDeadline(time.Now().Add(patience))
	}
	conn, err := net.DialTimeout("tcp", c.addr, patience)
	if err != nil {
		return err
	}
	if c.trust != nil {
		conn = tls.Client(conn, &tls.Config{RootCAs: c.trust.RootCAs, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}})
	}
	c.conn, c.reader = conn, bufio.NewReader(conn)
	return conn.SetDeadline(time.Now().Add(patience))
}

// receive reads an answer. It reports whether it is the last one on the connection.
func (c *client) receive(want string) (last bool, err error) {
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return true, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return true, err
	}
	return resp.Close, check(resp.StatusCode, body, want)
}

func check(status int, body []byte, want string) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d: %s", status, body)
	}
	if string(body) != want {
		return fmt.Errorf("the answer of %d bytes begins with %.40q, and not with %.40q", len(body), body, want)
	}
	return nil
}

func (c *client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// http2Client is that of net/http.
func http2Client(trust *tls.Config, secure bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(secure)
	protocols.SetUnencryptedHTTP2(!secure)
	return &http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: trust.Clone()}, Timeout: patience}
}

// runHTTP2 sends several requests at a time on one connection.
func (l *load) runHTTP2(ctx context.Context, s *service, name string, secure bool) {
	c := http2Client(s.trust, secure)
	defer c.CloseIdleConnections()
	url := "http://" + s.plain
	if secure {
		url = "https://" + s.tls
	}
	var streams sync.WaitGroup
	for i := range 3 {
		streams.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.count(name, askHTTP2(c, url+[]string{"/echo", "/slow", "/echo"}[i], fmt.Sprintf("%s-%d-%d", name, i, n), n%2 == 0))
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	streams.Wait()
}

func askHTTP2(c *http.Client, url, id string, withBody bool) error {
	text := ""
	if withBody {
		text = strings.Repeat(id, 100)
	}
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("X-Id", id)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.ProtoMajor != 2 {
		return fmt.Errorf("answered by %s", resp.Proto)
	}
	return check(resp.StatusCode, body, id+"\n"+text)
}
