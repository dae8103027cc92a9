package gracegrpc

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// What is wrong is an error, and the listener is closed.
func TestServeRefuses(t *testing.T) {
	m := newManager(t)
	ended := newManager(t)
	if err := ended.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		m    *grace.Manager
		srv  *grpc.Server
		is   error
		says string
	}{
		"no Manager":     {srv: grpc.NewServer(), is: errMissing},
		"no server":      {m: m, is: errMissing},
		"it has drained": {m: ended, srv: grpc.NewServer(), is: grace.ErrShutdown, says: "gracegrpc: serve pipe: this process drains"},
	} {
		ln := pipenet.Listen()
		if err := Serve(c.m, c.srv, ln); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ln.Dial(); err == nil {
			t.Errorf("%s: the listener is open", name)
		}
	}
	if err := Serve(m, grpc.NewServer(), nil); !errors.Is(err, errMissing) {
		t.Errorf("no listener: %v", err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-Draining(m)
	<-Draining(ended)
	groups.mu.Lock()
	defer groups.mu.Unlock()
	if len(groups.of) > 0 {
		t.Errorf("%d Managers are not forgotten", len(groups.of))
	}
}

// A server that fails ends the service, and one that its owner stops does not.
func TestServeFails(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*grpc.Server, net.Listener) error
		says string
	}{
		"listener closed":           {end: func(_ *grpc.Server, ln net.Listener) error { return ln.Close() }, says: "gracegrpc: serve pipe: use of closed network connection"},
		"server stopped":            {end: func(srv *grpc.Server, _ net.Listener) error { srv.Stop(); return nil }},
		"server stopped gracefully": {end: func(srv *grpc.Server, _ net.Listener) error { srv.GracefulStop(); return nil }},
	} {
		m, ln := newManager(t), pipenet.Listen()
		srv := newServer(m)
		if err := Serve(m, srv, ln); err != nil {
			t.Fatal(err)
		}
		if err := m.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- m.Run(ctx) }() // ends below
		client := newClient(t, ln)
		if err := <-client.call(0); err != nil {
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
		client.Close()
	}
}
