package gracehttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// A wrong argument is an error, and the listener is closed.
func TestStartRefuses(t *testing.T) {
	m := managertest.New(t)
	ended := managertest.New(t)
	if err := ended.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothing := filepath.Join(t.TempDir(), "nothing")
	with := func(m *grace.Manager, srv *http.Server, opts ...Option) func(net.Listener) error {
		return func(ln net.Listener) error { return Start(m, srv, ln, opts...) }
	}
	withCert := func(file string) func(net.Listener) error {
		return func(ln net.Listener) error { return StartTLS(m, &http.Server{}, ln, file, file) }
	}
	srv := &http.Server{}
	for name, c := range map[string]struct {
		start func(net.Listener) error
		is    error
		says  string
	}{
		"no Manager":     {start: with(nil, srv), is: errMissing},
		"no server":      {start: with(m, nil), is: errMissing},
		"nil option":     {start: with(m, srv, nil), says: "an Option is nil"},
		"negative grace": {start: with(m, srv, WithIdleGrace(-1)), says: "WithIdleGrace(-1ns)"},
		"no certificate": {start: withCert(nothing), is: os.ErrNotExist},
		"it has drained": {start: with(ended, srv), is: grace.ErrShutdown},
	} {
		ln := pipenet.Listen()
		err := c.start(ln)
		if c.is != nil && !errors.Is(err, c.is) || c.says != "" && !says(err, c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ln.Dial(); err == nil {
			t.Errorf("%s: the listener is open", name)
		}
	}
	if err := Start(m, &http.Server{}, nil); err == nil {
		t.Error("no listener: no error")
	}
	if err := ListenAndServe(t.Context(), nil, nil); err == nil {
		t.Error("nothing to serve: no error")
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := servers.Len(); n > 0 {
		t.Errorf("%d servers are not forgotten", n)
	}
}

// says reports whether an error contains a text.
func says(err error, text string) bool {
	return err != nil && strings.Contains(err.Error(), text)
}

// A server that fails ends the service, and one that its owner closes does not.
func TestServerFails(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*http.Server, net.Listener) error
		says string
	}{
		"listener closed": {
			end:  func(_ *http.Server, ln net.Listener) error { return ln.Close() },
			says: "gracehttp: serve pipe: use of closed network connection",
		},
		"server closed": {
			end: func(srv *http.Server, _ net.Listener) error { return srv.Close() },
		},
		"server shut down": {
			end: func(srv *http.Server, _ net.Listener) error { return shutDown(srv) },
		},
	} {
		m, srv, ln := managertest.New(t), &http.Server{}, pipenet.Listen()
		if err := Start(m, srv, ln); err != nil {
			t.Fatal(err)
		}
		if err := m.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- m.Run(ctx) }() // ends below
		if c, err := ln.Dial(); err != nil { // it serves
			t.Fatal(err)
		} else if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.end(srv, ln); err != nil {
			t.Fatal(err)
		}
		if c.says == "" {
			cancel()
		}
		if err := <-result; c.says == "" && err != nil || c.says != "" && !says(err, c.says) {
			t.Errorf("%s: Run returned %v", name, err)
		}
		cancel()
	}
}

// ListenAndServe fails in a process that cannot listen, and leaves nothing behind.
func TestListenAndServeFails(t *testing.T) {
	m := managertest.New(t)
	err := ListenAndServe(t.Context(), m, &http.Server{Addr: "256.0.0.1:http"})
	if err == nil || !errors.Is(m.Cause(), grace.ErrShutdown) {
		t.Errorf("it returned %v; the Manager: %v", err, m.Cause())
	}
	m = managertest.New(t)
	srv := &http.Server{Addr: "127.0.0.1:0"}
	if err := ListenAndServeTLS(t.Context(), m, srv, "", ""); err == nil {
		t.Error("it serves without a certificate")
	}
}

// A server that is started while the drain begins is drained, or refused and left as it is.
func TestStartWhileTheDrainBegins(t *testing.T) {
	for range 20 {
		m := managertest.New(t)
		if err := m.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		var starting sync.WaitGroup
		for range 8 {
			starting.Go(func() {
				srv, ln := &http.Server{}, pipenet.Listen()
				err := Start(m, srv, ln)
				if err != nil && (!errors.Is(err, grace.ErrShutdown) || srv.ConnState != nil) {
					t.Errorf("%v; the server is changed: %v", err, srv.ConnState != nil)
				}
				_ = m.Wait(context.Background())
				if c, err := ln.Dial(); err == nil {
					t.Error("the listener is open after the drain")
					c.Close()
				}
				if err == nil && !errors.Is(srv.Serve(pipenet.Listen()), http.ErrServerClosed) {
					t.Error("the server is not drained")
				}
			})
		}
		if err := m.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		starting.Wait()
	}
	if n := servers.Len(); n > 0 {
		t.Errorf("%d servers are not forgotten", n)
	}
}
