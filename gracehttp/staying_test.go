//go:build linux

package gracehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/go-grace/grace"
)

// transferNothing makes the test fail if a connection is handed over.
func (n *node) transferNothing() {
	n.transferTo(func(context.Context, string, syscall.Conn, []byte) error {
		n.t.Error("a connection is handed over")
		return errors.New("no")
	})
}

// A connection whose client has closed its direction is answered, and then closed.
func TestHalfClosedByItsClient(t *testing.T) {
	begun, drains := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done() // net/http has noticed
		<-drains
		_, _ = io.WriteString(w, "answer")
	})
	n := newNode(t, &http.Server{Handler: handler}, WithIdleHandover())
	n.transferNothing()
	c := n.dial()
	c.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	within(t, "request", begun)
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	drained := n.drainAfterUpgrade()
	close(drains)
	if body, _ := c.read(); body != "answer" {
		t.Errorf("got %q", body)
	}
	c.end()
	n.finish(drained)
}

// When it turns out that the successor is gone, no more connections are offered, and each response
// is the last one.
func TestSuccessorIsGone(t *testing.T) {
	n := newNode(t, &http.Server{Handler: names("old")}, WithIdleHandover(), WithIdleGrace(patience))
	n.transferTo(func(context.Context, string, syscall.Conn, []byte) error {
		return grace.ErrNoSuccessor
	})
	c := n.dial()
	eventually(t, "held", func() bool { return len(n.ln.idleConns()) == 1 })
	drained := n.drainAfterUpgrade()
	eventually(t, "offered", func() bool { return len(n.ln.idleConns()) == 0 })
	n.transferNothing()
	if body, last := c.get("/"); body != "old" || !last {
		t.Errorf("got %q, last: %v", body, last)
	}
	c.end()
	n.finish(drained)
}

// An HTTP/2 connection stays, and its client is told to move.
func TestHTTP2Stays(t *testing.T) {
	both := http2Only()
	both.SetHTTP1(true)
	srv := &http.Server{Handler: names("old"), Protocols: both}
	n := newNode(t, srv, WithIdleHandover(), WithIdleGrace(0))
	n.transferNothing()
	p := n.http2()
	defer p.CloseIdleConnections()
	if body := p.ask(t, "/"); body != "old" {
		t.Errorf("got %q", body)
	}
	n.finish(n.drainAfterUpgrade())
	if transferred := n.transfers.transferred.Load(); transferred > 0 {
		t.Errorf("%d connections are handed over", transferred)
	}
}

func (n *node) http2() *http2Peer {
	return &http2Peer{Client: &http.Client{Transport: &http.Transport{
		Protocols: http2Only(),
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return n.dial().Conn, nil
		},
	}}}
}

// Connections that are more than their sockets.
type (
	// holder is as those of netutil.LimitListener.
	holder struct{ net.Conn }

	// opaque does not show which one it wraps.
	opaque struct {
		anyConn
		other net.Conn
	}
	anyConn interface{ net.Conn }

	// tagged cannot be compared.
	tagged struct {
		net.Conn
		tags []string
	}

	// proxied is as those of the PROXY protocol: it has the addresses that a proxy tells.
	proxied struct {
		anyConn
		told net.Addr
	}
)

func (c *proxied) LocalAddr() net.Addr  { return c.told }
func (c *proxied) RemoteAddr() net.Addr { return c.told }

func newProxied(c net.Conn) net.Conn {
	return &proxied{c, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}}
}

// wrappers put a connection into another one.
var wrappers = map[string]func(net.Conn) net.Conn{
	"struct":  func(c net.Conn) net.Conn { return holder{c} },
	"pointer": func(c net.Conn) net.Conn { return &holder{c} },
	"opaque":  func(c net.Conn) net.Conn { return opaque{c, c} },
	"tagged":  func(c net.Conn) net.Conn { return tagged{c, []string{"a"}} },
	"proxied": newProxied,
}

// wrappingListener wraps the connections that it returns.
type wrappingListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrappingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}

// A connection that its listener has wrapped reaches the application as it is, and stays: nobody
// else knows the wrapper.
func TestConnectionsOfOtherTypesStay(t *testing.T) {
	pair, trust := keyPair(t)
	trust.ServerName = "127.0.0.1"
	for name, of := range map[string]struct {
		listener func(net.Listener) net.Listener
		is       func(net.Conn) bool
		client   func(net.Conn) net.Conn
	}{
		"opaque": {
			listener: func(ln net.Listener) net.Listener {
				return wrappingListener{ln, wrappers["opaque"]}
			},
			is:     func(c net.Conn) bool { _, ok := c.(opaque); return ok },
			client: func(c net.Conn) net.Conn { return c },
		},
		"tagged": {
			listener: func(ln net.Listener) net.Listener {
				return wrappingListener{ln, wrappers["tagged"]}
			},
			is:     func(c net.Conn) bool { _, ok := c.(tagged); return ok },
			client: func(c net.Conn) net.Conn { return c },
		},
		"TLS": {
			listener: func(ln net.Listener) net.Listener {
				return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}})
			},
			is:     func(c net.Conn) bool { _, ok := c.(*tls.Conn); return ok },
			client: func(c net.Conn) net.Conn { return tls.Client(c, trust) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			var seen atomic.Int32
			srv := &http.Server{Handler: names("old")}
			srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
				if seen.Add(1); !of.is(c) {
					t.Errorf("the connection is a %T", c)
				}
				return ctx
			}
			n := serveNode(t, srv, of.listener(ln), WithIdleHandover())
			n.transferNothing()
			c := n.dial()
			c.Conn = of.client(c.Conn)
			c.reader.Reset(c.Conn)
			if body, last := c.get("/"); body != "old" || last {
				t.Errorf("got %q, last: %v", body, last)
			}
			drained := n.drainAfterUpgrade()
			if body, last := c.get("/"); body != "old" || !last {
				t.Errorf("got %q in the drain, last: %v", body, last)
			}
			c.end()
			n.finish(drained)
			if seen.Load() != 1 {
				t.Errorf("ConnContext was called %d times", seen.Load())
			}
		})
	}
}
