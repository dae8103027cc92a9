package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A failed=0 means something, because every broken answer is noticed.
func TestClientNoticesFailures(t *testing.T) {
	for name, test := range map[string]struct {
		answer string // of a broken server, before it hangs up
		want   error
		text   string
	}{
		"no answer": {"", io.ErrUnexpectedEOF, ""},
		"cut short": {
			"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken", io.ErrUnexpectedEOF, "",
		},
		"wrong status": {"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n", nil, "status 503"},
		"wrong body": {
			"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsomebody", nil, "unexpected answer",
		},
		"no HTTP": {"SSH-2.0\r\n\r\n", nil, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := brokenServer(t, test.answer)
			c := client{name: "test", addr: addr, keepAlive: true, patience: time.Minute}
			defer c.hangUp()
			_, err := c.exchange(c.compose(2))
			if err == nil || test.want != nil && !errors.Is(err, test.want) ||
				!strings.Contains(err.Error(), test.text) {
				t.Errorf("the client got %v", err)
			}
		})
	}
}

// brokenServer sends the same answer to every request, and hangs up.
func brokenServer(t *testing.T, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the test
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

func TestClientIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c := client{name: "test", addr: addr, think: time.Millisecond, patience: time.Minute}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
	defer cancel()
	c.run(ctx)
	n, refused := c.tally.failed(), c.tally.failures["connect: connection refused"]
	if n == 0 || n != c.tally.requests || n != refused {
		t.Errorf("%d requests to nobody: %v", c.tally.requests, c.tally.failures)
	}
}

func TestClientLosesPatience(t *testing.T) {
	ln, err := net.Listen("tcp", anyPort) // connections wait in its queue, unanswered
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := client{name: "test", addr: ln.Addr().String(), patience: 20 * time.Millisecond}
	defer c.hangUp()
	if _, err := c.exchange(c.compose(1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without an answer: %v", err)
	}
}

// A server may ask for a new connection, which is not a failure.
func TestClientObeysClose(t *testing.T) {
	const every, enough = 3, 30
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var n atomic.Int32
	site := &site{generation: 1}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch i := n.Add(1); {
		case i == enough:
			cancel()
		case i%every == 0:
			w.Header().Set("Connection", "close")
		}
		site.ServeHTTP(w, r)
	}))
	defer srv.Close()

	c := client{
		name: "test", addr: srv.Listener.Addr().String(), keepAlive: true,
		think: time.Millisecond, patience: time.Minute,
	}
	c.run(ctx)
	seen := c.tally
	if seen.requests != enough || seen.failed() > 0 || len(seen.pids) != 1 ||
		c.dials != enough/every {
		t.Errorf("%d requests over %d connections to %v, failures: %v",
			seen.requests, c.dials, seen.pids, seen.failures)
	}
}
