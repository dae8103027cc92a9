//go:build linux

package gracehttp

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/test/managertest"
)

// lastResponder is a server whose only response is written in the drain.
type lastResponder struct {
	t       *testing.T
	m       *grace.Manager
	ln      net.Listener
	seen    records
	handles chan struct{} // has a value when the handler begins
	written chan struct{} // has a value when the handler ends
}

// newLastResponder listens, and returns a server whose drain has a given timeout.
func newLastResponder(t *testing.T, network, addr string, timeout time.Duration) *lastResponder {
	t.Helper()
	l := &lastResponder{t: t, handles: make(chan struct{}, 1), written: make(chan struct{}, 1)}
	l.m = managertest.New(t, grace.WithObserver(&l.seen), grace.WithDrainTimeout(timeout))
	var err error
	if l.ln, err = l.m.Listen(t.Context(), network, addr); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve responds with size bytes.
func (l *lastResponder) serve(size int, wrap func(net.Listener) net.Listener, opts ...Option) {
	l.t.Helper()
	l.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(make([]byte, size))
	}, wrap, opts...)
}

func (l *lastResponder) handle(
	h http.HandlerFunc, wrap func(net.Listener) net.Listener, opts ...Option,
) {
	l.t.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.handles <- struct{}{}
		<-Draining(r.Context())
		h(w, r)
		l.written <- struct{}{}
	})}
	if err := Start(l.m, srv, wrap(l.ln), opts...); err != nil {
		l.t.Fatal(err)
	}
	if err := l.m.Ready(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

func asItIs(ln net.Listener) net.Listener { return ln }

// drain begins the drain when the request is being handled.
func (l *lastResponder) drain() (ended <-chan error) {
	l.t.Helper()
	within(l.t, "request", l.handles)
	result := make(chan error, 1)
	go func() { result <- l.m.Shutdown(context.Background()) }() // ends with the drain
	return result
}

// finish waits for the drain.
func (l *lastResponder) finish(ended <-chan error) {
	l.t.Helper()
	if err := within(l.t, "end of the drain", ended); err != nil {
		l.t.Error(err)
	}
}

// check checks that one connection has ended or was cut, and nothing of it is left. It returns how
// long the drain took.
func (l *lastResponder) check(c *connection, cut int) time.Duration {
	l.t.Helper()
	l.seen.check(l.t, cut, 0)
	report := l.seen.reports[0]
	if report.Closed != 1-cut || report.Requests != 1 {
		l.t.Errorf("the report is %+v", report)
	}
	l.isClosed(c)
	return report.Duration
}

// isClosed makes the test fail if the server has a descriptor of the TCP connection. The end of one
// of a unix socket shows in what its client reads.
func (l *lastResponder) isClosed(c *connection) {
	l.t.Helper()
	if _, open := new(fds.Index).Find(c.RemoteAddr(), c.LocalAddr()); open {
		l.t.Error("a descriptor of the connection is left")
	}
}

// A client that has sent more than its request, and keeps sending, reads all of its last response,
// slow as it is, and finds the end of the connection after that.
func TestLastResponseIsReadToItsEnd(t *testing.T) {
	const size = 4 << 20
	pair, trust := keyPair(t)
	trust.ServerName = "127.0.0.1"
	secure := func(ln net.Listener) net.Listener {
		return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	wrapped := func(kind string) func(net.Listener) net.Listener {
		return func(ln net.Listener) net.Listener { return wrappingListener{ln, wrappers[kind]} }
	}
	for name, c := range map[string]struct {
		network string
		wrap    func(net.Listener) net.Listener
		secure  bool
		opts    []Option
	}{
		"plain":                {network: "tcp", wrap: asItIs},
		"plain, idle handover": {network: "tcp", wrap: asItIs, opts: []Option{WithIdleHandover()}},
		"unix":                 {network: "unix", wrap: asItIs},
		"unix, idle handover":  {network: "unix", wrap: asItIs, opts: []Option{WithIdleHandover()}},
		"TLS":                  {network: "tcp", wrap: secure, secure: true},
		"struct":               {network: "tcp", wrap: wrapped("struct")},
		"pointer":              {network: "tcp", wrap: wrapped("pointer")},
		"PROXY protocol":       {network: "tcp", wrap: wrapped("proxied")},
		"unix, PROXY protocol": {network: "unix", wrap: wrapped("proxied")},
		"cannot be compared":   {network: "tcp", wrap: wrapped("tagged")},
		"TLS, cannot be compared": {
			network: "tcp", secure: true,
			wrap: func(ln net.Listener) net.Listener { return secure(wrapped("tagged")(ln)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := "127.0.0.1:0"
			if c.network == "unix" {
				addr = filepath.Join(shortDir(t), "s")
			}
			l := newLastResponder(t, c.network, addr, patience)
			l.serve(size, c.wrap, append(c.opts, WithIdleGrace(patience))...)
			client := dial(t, c.network, l.ln.Addr().String())
			client.readsLittle()
			if c.secure {
				client.Conn = tls.Client(client.Conn, trust)
				client.reader.Reset(client.Conn)
			}
			client.send(strings.Repeat(plainGet, 2000)) // more than all buffers of the server hold
			ended := l.drain()
			client.readsSlowly(size)
			client.Close()
			l.finish(ended)
			l.check(client, 0)
		})
	}
}

// readsLittle makes the system receive little that the client has not read.
func (c *connection) readsLittle() {
	c.t.Helper()
	if err := c.Conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64 << 10); err != nil {
		c.t.Fatal(err)
	}
}

// readsSlowly reads a response of a given size, and keeps sending meanwhile. The response is the
// last one, and then comes the end.
func (c *connection) readsSlowly(size int64) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	for got := int64(0); got < size; {
		n, err := io.CopyN(io.Discard, resp.Body, size/64)
		if got += n; err != nil {
			c.t.Fatalf("after %d bytes: %v", got, err)
		}
		c.send(plainGet)
	}
	if rest, err := io.ReadAll(c.reader); len(rest) > 0 || err != nil || !resp.Close {
		c.t.Errorf("%q, %v after the response, last: %t", rest, err, resp.Close)
	}
}

// A client that does not close its connection after the last response holds the drain for a short
// time, and no longer than the grace period if its silence or its system says that it does not read
// on. What it still sends counts.
func TestClientsThatLinger(t *testing.T) {
	const size, grace = 1 << 19, 2 * time.Second
	for name, c := range map[string]struct {
		client         func(*connection, <-chan struct{})
		grace, timeout time.Duration
		atLeast        time.Duration // that the drain takes
		less           time.Duration // that it takes less than
		cut            int
	}{
		"silent": {
			client: (*connection).readsAndIsSilent,
			grace:  patience, timeout: patience, atLeast: lingerTime, less: patience / 2,
		},
		"silent, without a grace period": {
			client:  (*connection).readsAndIsSilent,
			timeout: patience, atLeast: lingerTime, less: patience / 2,
		},
		"sends": {
			client: (*connection).readsAndSends,
			grace:  grace, timeout: patience, atLeast: grace, less: patience / 2,
		},
		"does not read": {
			client: isSilent,
			grace:  grace, timeout: patience, atLeast: grace, less: patience / 2,
		},
		"does not read, and sends for a while": {
			client: func(c *connection, ended <-chan struct{}) { c.sends(3*grace, ended) },
			grace:  grace, timeout: patience, atLeast: 3 * grace, less: patience / 2,
		},
		"does not read, up to the deadline": {
			client: isSilent,
			grace:  patience, timeout: grace, atLeast: grace - grace/4, less: patience / 2, cut: 1,
		},
		"sends, up to the deadline": {
			client: (*connection).readsAndSends,
			grace:  patience, timeout: grace, atLeast: grace - grace/4, less: patience / 2, cut: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLastResponder(t, "tcp", "127.0.0.1:0", c.timeout)
			l.serve(size, asItIs, WithIdleGrace(c.grace))
			client := dial(t, "tcp", l.ln.Addr().String())
			client.readsLittle()
			client.send(plainGet)
			ended := l.drain()
			over, done := make(chan struct{}), make(chan struct{})
			go func() { // ends with the drain
				defer close(done)
				c.client(client, over)
			}()
			l.finish(ended)
			close(over)
			within(t, "end of the client", done)
			if took := l.check(client, c.cut); took < c.atLeast || took > c.less {
				t.Errorf("the drain took %v", took)
			}
		})
	}
}

func isSilent(*connection, <-chan struct{}) {}

func (c *connection) readsAndIsSilent(<-chan struct{}) { _, _ = io.Copy(io.Discard, c.reader) }

func (c *connection) readsAndSends(ended <-chan struct{}) {
	c.readsAndIsSilent(ended)
	c.sends(patience, ended)
}

// sends sends something again and again, until the drain has ended or d is over.
func (c *connection) sends(d time.Duration, ended <-chan struct{}) {
	over := time.After(d)
	for {
		_, _ = io.WriteString(c, "x")
		select {
		case <-time.After(lingerTime / 10):
		case <-over:
			return
		case <-ended:
			return
		}
	}
}

// A handler may take the connection over after the last header: then its end is that of the
// connection.
func TestHijackedAfterTheLastHeader(t *testing.T) {
	l := newLastResponder(t, "tcp", "127.0.0.1:0", patience)
	over := make(chan struct{})
	l.handle(func(w http.ResponseWriter, _ *http.Request) {
		ctl := http.NewResponseController(w)
		if err := ctl.Flush(); err != nil {
			t.Error(err)
		}
		nc, _, err := ctl.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = nc.Close()
		<-over
	}, asItIs)
	c := dial(t, "tcp", l.ln.Addr().String())
	c.send(plainGet)
	ended := l.drain()
	if got := c.heads(); got != "200 close" {
		t.Errorf("got %q", got)
	}
	if _, err := io.ReadAll(c.reader); err != nil {
		t.Error(err)
	}
	l.isClosed(c)
	close(over)
	l.finish(ended)
	l.seen.check(t, 0, 0)
	if closed := l.seen.reports[0].Closed; closed != 1 {
		t.Errorf("%d connections are reported as closed", closed)
	}
}

// A response that began before the drain cannot say that the connection closes: nothing is kept
// for later.
func TestResponseThatBeganBeforeTheDrain(t *testing.T) {
	kept := make(chan bool, 1)
	handler := func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-Draining(r.Context())
		_, _ = io.WriteString(w, "hello")
		kept <- connOf(r.Context()).takeLast() != nil
	}
	n := newNode(t, &http.Server{Handler: http.HandlerFunc(handler)}, WithIdleGrace(0))
	c := n.dial()
	c.send(plainGet)
	if got := c.heads(); got != "200" {
		t.Errorf("got %q", got)
	}
	drained := n.drainAfterUpgrade()
	if within(t, "end of the response", kept) {
		t.Error("a second descriptor is open")
	}
	c.Close()
	n.finish(drained)
}
