//go:build linux

package gracehttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The options of a socket, set by the first process alone, still hold in the next ones.
func TestSocketOptionsOverUpgrades(t *testing.T) {
	t.Parallel()
	s := start(t, config{Idle: true, Tune: true})
	c := s.connect()
	if options, _ := c.get("/socket"); options != tuned {
		t.Errorf("%s before the upgrade", options)
	}
	for n := range 2 {
		s.upgrade()
		s.awaitTransferred(n+1, 1)
	}
	if options, _ := c.get("/socket"); options != tuned {
		t.Errorf("%s after two upgrades", options)
	}
	if options, _ := s.connect().get("/socket"); options == tuned {
		t.Error("every connection has these options")
	}
}

// traced is a source that records who reads it.
type traced struct {
	io.Reader
	readers []string
}

func (r *traced) Read(b []byte) (int, error) {
	callers := make([]uintptr, 20)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		r.readers = append(r.readers, frame.Function)
	}
	return r.Reader.Read(b)
}

// With WithIdleHandover too, net/http sends files by the ReadFrom of the connection, which uses
// sendfile(2). Applications find the methods of a connection of package net.
func TestConnectionsKeepTheirMethods(t *testing.T) {
	for name, opts := range withAndWithoutHandover {
		t.Run(name, func(t *testing.T) {
			readers := make(chan []string, 1)
			conns := make(chan net.Conn, 1)
			n := newNode(t, &http.Server{
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					source := &traced{Reader: strings.NewReader(strings.Repeat("a", 100_000))}
					w.Header().Set("Content-Length", "100000")
					if _, err := io.Copy(w, source); err != nil {
						t.Error(err)
					}
					readers <- source.readers
				}),
				ConnContext: func(ctx context.Context, c net.Conn) context.Context {
					conns <- c
					return ctx
				},
			}, opts...)
			c := n.dial()
			if body, last := c.get("/"); len(body) != 100_000 || last {
				t.Errorf("%d bytes arrived, last: %v", len(body), last)
			}
			by := within(t, "end of the handler", readers)
			if !slices.Contains(by, "net.(*TCPConn).ReadFrom") {
				t.Errorf("the file is read by %q", by)
			}
			nc := within(t, "connection", conns)
			methods, ok := nc.(interface {
				syscall.Conn
				io.ReaderFrom
				io.WriterTo
				SetNoDelay(bool) error
				SetLinger(int) error
				CloseRead() error
				CloseWrite() error
			})
			if !ok {
				t.Fatalf("a %T does not have all methods", nc)
			}
			raw, err := methods.SyscallConn()
			if err == nil {
				err = raw.Control(func(uintptr) {})
			}
			if err != nil {
				t.Error(err)
			}
			if err := methods.CloseWrite(); err != nil {
				t.Error(err)
			}
			c.end()
		})
	}
}

// A handler can set deadlines by http.ResponseController.
func TestDeadlinesOfHandlers(t *testing.T) {
	for name, opts := range withAndWithoutHandover {
		t.Run(name, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctl, now := http.NewResponseController(w), time.Now()
				err := errors.Join(ctl.SetReadDeadline(now), ctl.SetWriteDeadline(now.Add(patience)))
				if err != nil {
					t.Error(err)
				}
				if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the body ended with %v", err)
				}
				_, _ = io.WriteString(w, "late")
			})
			n := newNode(t, &http.Server{Handler: handler}, opts...)
			c := n.dial()
			c.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n")
			if body, _ := c.read(); body != "late" {
				t.Errorf("got %q", body)
			}
		})
	}
}
