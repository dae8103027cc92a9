package gracehttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// What is wrong is an error, and the listener is closed.
func TestStartRefuses(t *testing.T) {
	m := newManager(t)
	ended := newManager(t)
	if err := ended.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothing := filepath.Join(t.TempDir(), "nothing")
	for name, c := range map[string]struct {
		serve func(net.Listener) error
		is    error
		says  string
	}{
		"no Manager":     {serve: func(ln net.Listener) error { return Start(nil, &http.Server{}, ln) }, says: "must not be nil"},
		"no server":      {serve: func(ln net.Listener) error { return Start(m, nil, ln) }, says: "must not be nil"},
		"nil option":     {serve: func(ln net.Listener) error { return Start(m, &http.Server{}, ln, nil) }, says: "an Option is nil"},
		"negative grace": {serve: func(ln net.Listener) error { return Start(m, &http.Server{}, ln, WithIdleGrace(-1)) }, says: "WithIdleGrace(-1ns)"},
		"negative delay": {serve: func(ln net.Listener) error { return Start(m, &http.Server{}, ln, WithStopDelay(-time.Second)) }, says: "WithStopDelay(-1s)"},
		"no certificate": {serve: func(ln net.Listener) error { return StartTLS(m, &http.Server{}, ln, nothing, nothing) }, is: os.ErrNotExist},
		"it has drained": {serve: func(ln net.Listener) error { return Start(ended, &http.Server{}, ln) }, is: grace.ErrShutdown},
	} {
		ln := pipenet.Listen()
		err := c.serve(ln)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
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
	if len(groups.of) > 0 {
		t.Errorf("%d Managers are not forgotten", len(groups.of))
	}
}

// A server that fails ends the service, and one that its owner closes does not.
func TestServerFails(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*http.Server, net.Listener) error
		says string
	}{
		"listener closed": {end: func(_ *http.Server, ln net.Listener) error { return ln.Close() }, says: "gracehttp: serve pipe: use of closed network connection"},
		"server closed":   {end: func(srv *http.Server, _ net.Listener) error { return srv.Close() }},
		"server shut down": {end: func(srv *http.Server, _ net.Listener) error {
			return srv.Shutdown(context.Background())
		}},
	} {
		m, srv, ln := newManager(t), &http.Server{}, pipenet.Listen()
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
		if err := <-result; (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Run returned %v", name, err)
		}
		cancel()
	}
}

// ListenAndServe in a process that cannot listen fails, and leaves nothing.
func TestListenAndServeFails(t *testing.T) {
	m := newManager(t)
	err := ListenAndServe(t.Context(), m, &http.Server{Addr: "256.0.0.1:http"})
	if err == nil || !errors.Is(m.Cause(), grace.ErrShutdown) {
		t.Errorf("it returned %v; the Manager: %v", err, m.Cause())
	}
	m = newManager(t)
	if err := ListenAndServeTLS(t.Context(), m, &http.Server{Addr: "127.0.0.1:0"}, "", ""); err == nil {
		t.Error("it serves without a certificate")
	}
}
