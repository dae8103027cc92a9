package gracegrpc

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

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
	for name, c := range map[string]struct {
		m    *grace.Manager
		srv  *grpc.Server
		is   error
		says string
	}{
		"no Manager": {srv: grpc.NewServer(), is: errMissing},
		"no server":  {m: m, is: errMissing},
		"it has drained": {
			m: ended, srv: grpc.NewServer(), is: grace.ErrShutdown,
			says: "gracegrpc: serve pipe: this process is draining",
		},
	} {
		ln := pipenet.Listen()
		err := Start(c.m, c.srv, ln)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ln.Dial(); err == nil {
			t.Errorf("%s: the listener is open", name)
		}
	}
	if err := Start(m, grpc.NewServer(), nil); !errors.Is(err, errMissing) {
		t.Errorf("no listener: %v", err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-Draining(m)
	<-Draining(ended)
	if n := groups.Len(); n > 0 {
		t.Errorf("%d Managers are not forgotten", n)
	}
}

// A server that fails ends the service, and one that its owner stops does not.
func TestServerFails(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*grpc.Server, net.Listener) error
		says string
	}{
		"listener closed": {
			end:  func(_ *grpc.Server, ln net.Listener) error { return ln.Close() },
			says: "gracegrpc: serve pipe: use of closed network connection",
		},
		"server stopped": {
			end: func(srv *grpc.Server, _ net.Listener) error { srv.Stop(); return nil },
		},
		"server stopped gracefully": {
			end: func(srv *grpc.Server, _ net.Listener) error { srv.GracefulStop(); return nil },
		},
	} {
		m, ln := managertest.New(t), pipenet.Listen()
		srv := newTestServer(m)
		if err := Start(m, srv, ln); err != nil {
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
		err := <-result
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Run returned %v", name, err)
		}
		cancel()
		client.Close()
	}
}

// A server that is started while the drain begins is drained or refused, and its handlers learn of
// the drain.
func TestStartWhileTheDrainBegins(t *testing.T) {
	for range 20 {
		m := managertest.New(t)
		if err := m.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		var starting sync.WaitGroup
		for range 4 {
			starting.Go(func() {
				srv, ln := newTestServer(m), pipenet.Listen()
				err := Start(m, srv, ln)
				if err != nil && !errors.Is(err, grace.ErrShutdown) {
					t.Error(err)
				}
				<-Draining(m)
				_ = m.Wait(context.Background())
				if c, err := ln.Dial(); err == nil {
					t.Error("the listener is open after the drain")
					c.Close()
				}
				if err == nil && srv.Serve(pipenet.Listen()) != grpc.ErrServerStopped {
					t.Error("the server is not drained")
				}
			})
		}
		if err := m.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		starting.Wait()
	}
	if n := groups.Len(); n > 0 {
		t.Errorf("%d Managers are not forgotten", n)
	}
}
