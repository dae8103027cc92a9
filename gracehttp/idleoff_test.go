//go:build linux

package gracehttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
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
