package gracehttp

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace"
)

func http2Only() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// http2Peer is a client of HTTP/2 on one connection, which can be frozen.
type http2Peer struct {
	*http.Client
	frozen atomic.Bool
}

func (r *rig) http2() *http2Peer {
	p := &http2Peer{}
	p.Client = &http.Client{Transport: &http.Transport{
		Protocols: http2Only(),
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			c, err := r.Dial()
			return &freezer{Conn: c, frozen: &p.frozen, closed: make(chan struct{})}, err
		},
	}}
	return p
}

// freezer is a connection whose client can stop reading.
type freezer struct {
	net.Conn
	frozen *atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (f *freezer) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b[:min(1, len(b))]) // the other side's Write waits for the rest
	if f.frozen.Load() {
		<-f.closed
	}
	return n, err
}

func (f *freezer) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

func (p *http2Peer) ask(t *testing.T, path string) string {
	t.Helper()
	resp, err := p.Get("http://test" + path)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 {
		t.Errorf("%q, %v by %s", body, err, resp.Proto)
	}
	return string(body)
}

// Idle HTTP/2 connections end soon, and busy ones after their requests. A client that no longer
// reads does not hold the drain up until the deadline.
func TestHTTP2(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		freeze bool
		took   time.Duration
		sooner bool // or less
	}{
		"idle":   {took: leaveTime, sooner: true}, // since Go 1.27 the client closes it
		"busy":   {path: "/20s", took: 20 * time.Second},
		"frozen": {freeze: true, took: DefaultIdleGrace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only()})
				p := r.http2()
				if body := p.ask(t, "/"); body != "hello" {
					t.Errorf("%q", body)
				}
				requests := 0
				if c.path != "" {
					go p.ask(t, c.path)
					requests = 1
				}
				synctest.Wait()
				p.frozen.Store(c.freeze)
				d := <-r.drain()
				if c.sooner {
					c.took = min(c.took, d.took)
				}
				d.check(t, c.took, requests, 1, 0)
				p.CloseIdleConnections()
			})
		})
	}
}

// An HTTP/2 stream that does not end is cut at the deadline.
func TestHTTP2Deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only()})
		p := r.http2()
		failed := make(chan error, 1)
		go func() {
			resp, err := p.Get("http://test/1h")
			if err == nil {
				_ = resp.Body.Close()
			}
			failed <- err
		}()
		synctest.Wait()
		(<-r.drain()).check(t, grace.DefaultDrainTimeout, 0, 0, 1)
		if err := <-failed; err == nil {
			t.Error("the client has got a response")
		}
		synctest.Wait()
		p.CloseIdleConnections()
	})
}
