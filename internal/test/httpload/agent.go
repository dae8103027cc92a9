package httpload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// agentClient is a client of package http.
type agentClient struct {
	*identity
	http http.RoundTripper
	url  string
	end  context.CancelFunc // closes all connections, also one that is still dialled in advance
	over *atomic.Bool       // the server has ended a connection of HTTP/1, or said that it will
}

// agentConn is a connection of a client of package http, which may also close it without need: if
// it does not get around to noticing that a request is written within 50 ms of the answer, it does
// not use its connection again.
type agentConn struct {
	net.Conn
	closed atomic.Bool
	over   *atomic.Bool
}

func (c *agentConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !c.closed.Load() {
		c.over.Store(true)
	}
	return n, err
}

func (c *agentConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func newAgentClient(c *identity) *agentClient {
	protocols, alpn, scheme := new(http.Protocols), "http/1.1", "http"
	switch {
	case !c.kind.agent.http2:
		protocols.SetHTTP1(true)
	case c.target.TLS == nil:
		protocols.SetUnencryptedHTTP2(true)
	default:
		protocols.SetHTTP2(true)
		alpn = "h2"
	}
	if c.target.TLS != nil {
		scheme = "https"
	}
	over := new(atomic.Bool)
	ended, end := context.WithCancel(context.Background())
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, c.target.Network, c.target.Addr)
		if err != nil {
			return nil, err
		}
		watched := &agentConn{Conn: conn, over: over}
		context.AfterFunc(ended, func() { _ = watched.Close() })
		return watched, nil
	}
	client := &agentClient{identity: c, url: scheme + "://httpload", end: end, over: over}
	transport := &http.Transport{
		Protocols: protocols, DialContext: dial, TLSClientConfig: c.target.trust(alpn),
	}
	client.http = transport
	if c.kind.agent.http2 && c.kind.agent.once {
		client.http = &onceTransport{
			Transport: transport, scheme: scheme, dialled: func() { c.countDial(true) },
		}
	}
	return client
}

func (c *agentClient) run(ctx context.Context) {
	defer c.end()
	streams := 1
	if c.kind.agent.http2 {
		streams = c.config.Streams
	}
	var running sync.WaitGroup
	for range streams {
		running.Go(func() { c.runStream(ctx) }) // ends with the context
	}
	running.Wait()
}

// runStream makes requests one after another.
func (c *agentClient) runStream(ctx context.Context) {
	var same comparer
	asks := c.kind.agent.asks
	for n := 0; ctx.Err() == nil; n++ {
		r := c.compose(kinds[asks[n%len(asks)]])
		began := time.Now()
		err := c.ask(r, &same)
		c.count(r, time.Since(began), err)
		c.pause(ctx, err)
	}
}

func (c *agentClient) ask(r request, same *comparer) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.config.Patience)
	defer cancel()
	var interim []int
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			interim = append(interim, code)
			return checkInterim(code, header["Connection"])
		},
	})
	req, err := c.request(ctx, r)
	if err != nil {
		return err
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if resp.Close {
		c.over.Store(true)
	}
	if c.kind.agent.http2 != (resp.ProtoMajor == 2) {
		return fmt.Errorf("it is answered by %s", resp.Proto)
	}
	if err := r.checkInterims(interim); err != nil {
		return err
	}
	return r.check(resp, same)
}

func (c *agentClient) request(ctx context.Context, r request) (*http.Request, error) {
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			c.countDial(c.over.Swap(false) || c.kind.agent.http2)
		}
	}}
	var body io.Reader = strings.NewReader(r.body)
	if c.kind.agent.once {
		body = io.MultiReader(body) // http.NewRequest does not know how to rewind it
	}
	ctx = httptrace.WithClientTrace(ctx, trace)
	req, err := http.NewRequestWithContext(ctx, r.method, c.url+r.path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(r.body))
	for _, f := range r.fields {
		req.Header.Add(f[0], f[1])
	}
	return req, nil
}
