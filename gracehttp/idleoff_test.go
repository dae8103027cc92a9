//go:build linux

package gracehttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
)

// Where the server cannot tell when a connection is idle, the observers learn that. Connections are
// then those of package net, and the drain closes them politely.
func TestIdleHandoverOff(t *testing.T) {
	n := newNode(t, &http.Server{
		Handler: names("old"), Protocols: http2Only(), // without HTTP/1
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("the connection is a %T", c)
			}
			return ctx
		},
	}, WithIdleHandover(), WithIdleGrace(0))
	off, ok := n.first().(IdleHandoverOff)
	if !ok || off.Server != n.Server || off.Err == nil {
		t.Fatalf("the report is %+v", n.first())
	}
	level, message, attrs := off.Describe()
	says := strings.Contains(message, "will not be handed over")
	if level != slog.LevelWarn || !says || len(attrs) != 1 {
		t.Errorf("it is described as %v %q %v", level, message, attrs)
	}
	n.transferNothing()
	p := n.http2()
	defer p.CloseIdleConnections()
	p.ask(t, "/")
	n.finish(n.drainAfterUpgrade())
}

// An observer may look at the server that it is told of: nothing is locked then.
func TestObserverLooksAtTheServer(t *testing.T) {
	srv := &http.Server{Protocols: http2Only()}
	var s *server
	var seen time.Duration
	m := managertest.New(t, grace.WithObserver(graceevent.ObserverFunc(
		func(_ context.Context, r graceevent.Record) {
			if _, ok := r.Event.(IdleHandoverOff); ok {
				seen = s.grace()
			}
		})))
	s = newServer(m, srv)
	set, err := newSettings([]Option{WithIdleHandover(), WithIdleGrace(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ln, listened := listen(t), make(chan error, 1)
	go func() { // ends at once, or the test has failed
		l, err := s.listen(ln, false, set)
		if err == nil {
			err = l.Close()
		}
		listened <- err
	}()
	if err := within(t, "listener", listened); err != nil {
		t.Error(err)
	}
	if seen != time.Hour {
		t.Errorf("the observer has seen a grace period of %v", seen)
	}
}

// first returns the first report.
func (r *reports) first() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[0]
}

// An idle connection of such a server is kept for the grace period, and its next response is the
// last one.
func TestDrainWithoutARule(t *testing.T) {
	n := newNode(t, &http.Server{Handler: names("old")}, WithIdleHandover(), WithIdleGrace(patience))
	n.judge(nil) // as after a self-test that fails
	n.transferNothing()
	c := n.dial()
	c.get("/")
	drained := n.drainAfterUpgrade()
	if body, last := c.get("/"); body != "old" || !last {
		t.Errorf("%q, last: %v", body, last)
	}
	c.end()
	n.finish(drained)
}
