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

// Where it cannot be told when a connection is idle, the observers learn that, connections are those of package net, and the drain is
// polite.
func TestIdleHandoverOff(t *testing.T) {
	n := newNode(t, &http.Server{
		Handler: names("old"), Protocols: http2Only(), // of which HTTP/1 is no part
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
	if level, message, attrs := off.Describe(); level != slog.LevelWarn || !strings.Contains(message, "will not be handed over") || len(attrs) != 1 {
		t.Errorf("it is described as %v %q %v", level, message, attrs)
	}
	n.transferNothing()
	p := n.http2()
	defer p.CloseIdleConnections()
	p.ask(t, "/")
	n.finish(n.drainAfterUpgrade())
}

// first is the first report.
func (r *reports) first() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[0]
}

// An idle connection of such a server is kept for the grace, and its next answer is the last one.
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
