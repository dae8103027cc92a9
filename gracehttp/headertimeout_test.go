//go:build linux

package gracehttp

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/managertest"
)

// headerTimeout is the ReadHeaderTimeout in these tests; silence is how long a client says nothing.
const (
	headerTimeout = 2 * time.Second
	silence       = headerTimeout * 4 / 5
)

const partOfAHeader = "GET / HTTP/1.1\r\nHost: test\r\n"

// deadlineOf returns a channel on which the time comes when http.Server alone closes a connection
// without a complete header.
func deadlineOf(t *testing.T, timeout time.Duration) <-chan time.Time {
	t.Helper()
	ln := listen(t)
	serveOne(t, &http.Server{ReadHeaderTimeout: timeout}, ln, false)
	c := dial(t, "tcp", ln.Addr().String())
	c.send(partOfAHeader)
	return c.endTime()
}

// endTime returns a channel on which the time comes when the connection ends.
func (c *connection) endTime() <-chan time.Time {
	ended := make(chan time.Time, 1)
	go func() { // ends with the connection
		_, _ = io.Copy(io.Discard, c.reader)
		ended <- time.Now()
	}()
	return ended
}

// The time for the first header begins when the connection is accepted, though http.Server gets the
// connection later. A client that is silent at first does not have twice as long.
func TestTimeForTheFirstHeader(t *testing.T) {
	t.Parallel()
	n := newNode(t, &http.Server{ReadHeaderTimeout: headerTimeout})
	began := time.Now()
	before := deadlineOf(t, headerTimeout*3/2)
	c := n.dial()
	c.hearsNothing(silence)
	c.send(partOfAHeader)
	ended := within(t, "end of the connection", c.endTime())
	if ended.Sub(began) < headerTimeout {
		t.Errorf("closed after %v", ended.Sub(began))
	}
	if limit := within(t, "end of the other connection", before); ended.After(limit) {
		t.Errorf("closed after %v, later than after %v", ended.Sub(began), limit.Sub(began))
	}
}

// slowHello is a connection whose client is silent at first, and then takes its time for its first
// message.
type slowHello struct {
	net.Conn
	spoken bool
}

func (c *slowHello) Write(b []byte) (int, error) {
	if c.spoken {
		return c.Conn.Write(b)
	}
	c.spoken = true
	time.Sleep(silence)
	if n, err := c.Conn.Write(b[:1]); err != nil {
		return n, err
	}
	time.Sleep(silence)
	n, err := c.Conn.Write(b[1:])
	return n + 1, err
}

// With TLS, http.Server has the time twice: for the handshake, and for the header. Here it is not
// three times.
func TestTimeForTheFirstHeaderInTLS(t *testing.T) {
	t.Parallel()
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	trust.ServerName = "127.0.0.1"
	ln, m := listen(t), managertest.New(t)
	srv := &http.Server{ReadHeaderTimeout: headerTimeout}
	if err := StartTLS(m, srv, ln, cert, key, WithIdleGrace(0)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	before := deadlineOf(t, headerTimeout*23/10)
	c := dial(t, "tcp", ln.Addr().String())
	c.Conn = tls.Client(&slowHello{Conn: c.Conn}, trust)
	c.reader.Reset(c.Conn)
	c.send(partOfAHeader)
	ended := within(t, "end of the connection", c.endTime())
	if ended.Sub(began) < 2*headerTimeout {
		t.Errorf("closed after %v", ended.Sub(began))
	}
	if limit := within(t, "end of the other connection", before); ended.After(limit) {
		t.Errorf("closed after %v, later than after %v", ended.Sub(began), limit.Sub(began))
	}
}

// A request that comes in time is answered, however long that takes, and so are those after it.
func TestRequestInTimeForTheFirstHeader(t *testing.T) {
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	http2 := http2Only()
	http2.SetHTTP2(true)
	for name, c := range map[string]struct {
		secure    bool
		protocols *http.Protocols
	}{
		"HTTP/1": {false, http1Only()}, "HTTP/1 with TLS": {true, http1Only()},
		"HTTP/2": {false, http2}, "HTTP/2 with TLS": {true, http2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var connections atomic.Int32
			srv := &http.Server{
				Handler: http.HandlerFunc(site), Protocols: c.protocols,
				ReadHeaderTimeout: headerTimeout,
				ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
					connections.Add(1)
					return ctx
				},
			}
			ln, m := listen(t), managertest.New(t)
			url, err := "http://"+ln.Addr().String(), error(nil)
			if c.secure {
				url = "https" + strings.TrimPrefix(url, "http")
				err = StartTLS(m, srv, ln, cert, key)
			} else {
				err = Start(m, srv, ln)
			}
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{Protocols: c.protocols, TLSClientConfig: trust.Clone()}
			defer transport.CloseIdleConnections()
			for _, path := range []string{"/" + (3 * headerTimeout).String(), "/"} {
				resp, err := transport.RoundTrip(get(t, url+path))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(body) != "hello" || err != nil {
					t.Errorf("%q, %v", body, err)
				}
			}
			if n := connections.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}
