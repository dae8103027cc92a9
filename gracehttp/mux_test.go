//go:build linux

package gracehttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/wait"
)

// mux is a listener for several servers, as multiplexers make of one: whoever closes it closes it
// for all, with errors of its own.
type mux struct {
	net.Listener
	once   sync.Once
	closed chan struct{}
	failed chan struct{} // receives when an Accept has failed
}

var errMux = errors.New("mux: server closed")

func (m *mux) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		err = errMux
		select {
		case m.failed <- struct{}{}:
		default: // nobody asks
		}
	}
	return c, err
}

func (m *mux) Close() error {
	err := errMux
	m.once.Do(func() {
		close(m.closed)
		err = m.Listener.Close()
	})
	return err
}

// serve is the loop of the multiplexer.
func (m *mux) serve() error {
	<-m.closed
	return errMux
}

// Servers behind one listener end without an error, although another closes it before their own
// drain begins. A client that has connected and sent nothing yet still has its answer.
func TestServersBehindOneListener(t *testing.T) {
	shared := &mux{
		Listener: listen(t), closed: make(chan struct{}), failed: make(chan struct{}, 2),
	}
	var servers []*server
	noticed := make(chan struct{})
	closeFirst := func(_ context.Context, rec graceevent.Record) {
		if _, ok := rec.Event.(graceevent.DrainStarted); ok {
			defer close(noticed)
			shared.Close()
			for range servers {
				<-shared.failed
			}
			for _, s := range servers { // they should go on; a server that does not ends at once
				if wait.Closed(t.Context(), s.listeners[0].served, time.Second/5) {
					t.Error("a server has ended before its drain")
				}
			}
		}
	}
	m := managertest.New(t, grace.WithObserver(graceevent.ObserverFunc(closeFirst)))
	for range 2 {
		srv := &http.Server{Handler: http.HandlerFunc(site)}
		if err := Start(m, srv, shared); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, serverOf(m, srv))
	}
	m.Go(shared.serve)
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := dial(t, "tcp", shared.Addr().String())
	eventually(t, "held", func() bool {
		return len(servers[0].listeners[0].idleConns())+len(servers[1].listeners[0].idleConns()) == 1
	})
	result := make(chan error, 1)
	go func() { result <- m.Shutdown(context.Background()) }() // ends with the drain
	within(t, "end of the listener", noticed)
	eventually(t, "draining", func() bool {
		return servers[0].isDraining() && servers[1].isDraining()
	})
	if body, last := c.get("/"); body != "hello" || !last {
		t.Errorf("the answer is %q, the last one: %v", body, last)
	}
	c.end()
	if err := <-result; err != nil {
		t.Error(err)
	}
}
