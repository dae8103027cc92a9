package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// idleGrace is how long idle connections are kept for a last request, whose answer tells the client to connect anew. A client
// that is idle for longer finds its connection closed, as after any keep-alive timeout.
const idleGrace = 5 * time.Second

// drainer finishes the work of an [http.Server] whose successor accepts already. [http.Server.Shutdown] alone would not do: it
// closes idle connections at once, on which requests may be on their way, and drops those that it has just read.
type drainer struct {
	server   *http.Server
	listener net.Listener
	draining atomic.Bool

	served   chan struct{} // closed when Serve has returned
	serveErr error         // set before

	mu    sync.Mutex
	conns map[net.Conn]http.ConnState // those that are open
}

// newDrainer prepares the server for its end; its Handler must be set, and its ConnState is taken.
func newDrainer(srv *http.Server, ln net.Listener) *drainer {
	d := &drainer{server: srv, listener: ln, served: make(chan struct{}), conns: make(map[net.Conn]http.ConnState)}
	srv.Handler = d.lastAnswers(srv.Handler)
	srv.ConnState = d.note
	return d
}

// serve accepts connections until the listener is closed.
func (d *drainer) serve() {
	d.serveErr = unlessClosed(d.server.Serve(d.listener))
	close(d.served)
}

// drain is the OnDrain hook.
func (d *drainer) drain(ctx context.Context) error {
	d.draining.Store(true)
	err := unlessClosed(d.listener.Close()) // clients that connect from now on get to the successor
	<-d.served                              // and every connection that was accepted before is known
	d.await(ctx)
	shutErr := d.server.Shutdown(ctx)
	if shutErr != nil {
		_ = d.server.Close() // out of time
	}
	return errors.Join(d.serveErr, err, shutErr)
}

// lastAnswers makes each answer of a draining server the last one on its connection. An answer that was begun before is
// followed by another request, whose answer is then the last.
func (d *drainer) lastAnswers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// note is told by the server of each connection's states.
func (d *drainer) note(c net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(d.conns, c)
		return
	}
	d.conns[c] = state
}

// await waits until all connections are closed, or only idle ones are left and idleGrace is over.
func (d *drainer) await(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience, patient := time.After(idleGrace), true
	for {
		busy, idle := d.count()
		if busy == 0 && (idle == 0 || !patient) {
			return
		}
		select {
		case <-tick.C:
		case <-patience:
			patient = false
		case <-ctx.Done():
			return
		}
	}
}

// count tells connections that have a request, or have just been opened for one, from idle ones.
func (d *drainer) count() (busy, idle int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, state := range d.conns {
		if state == http.StateIdle {
			idle++
		} else {
			busy++
		}
	}
	return busy, idle
}

// unlessClosed drops the error of a listener that we have closed ourselves.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
