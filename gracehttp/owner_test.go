//go:build linux

package gracehttp

import (
	"context"
	"net/http"
	"syscall"
	"testing"
)

// owners are the ways in which the owner of a server can end it.
var owners = map[string]func(*http.Server) error{
	"Close":    (*http.Server).Close,
	"Shutdown": shutDown,
}

// connectAll returns a connection of each kind: without a request yet, idle, and transferred by a
// previous process.
func (n *node) connectAll() []*connection {
	n.t.Helper()
	silent, idle := n.dial(), n.dial()
	idle.get("/")
	ours, adopted := pair(n.t)
	n.ln.adopt(ours, nil)
	eventually(n.t, "held", func() bool { return len(n.ln.idleConns()) == 2 })
	return []*connection{silent, idle, adopted}
}

// The owner of a server can end it at any time: no connection stays open, and nothing waits.
func TestOwnerEndsTheServer(t *testing.T) {
	for name, end := range owners {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, &http.Server{Handler: names("old")}, WithIdleHandover())
			all := n.connectAll()
			if err := end(n.Server); err != nil {
				t.Error(err)
			}
			for _, c := range all {
				c.isCut()
			}
			n.ln.awaitSources(t)
			within(t, "end of Serve", n.done)
			n.finish(n.drainAfterUpgrade())
		})
	}
}

// The same holds while the server drains and offers connections to a slow successor.
func TestOwnerEndsTheServerWhileItDrains(t *testing.T) {
	for name, end := range owners {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, &http.Server{Handler: names("old")}, WithIdleHandover(), WithIdleGrace(patience))
			all := n.connectAll()
			offered, over := make(chan struct{}, len(all)), make(chan struct{})
			n.transferTo(func(ctx context.Context, name string, c syscall.Conn, state []byte) error {
				offered <- struct{}{}
				<-over
				return refused(ctx, name, c, state)
			})
			drained := n.drainAfterUpgrade()
			for range all {
				within(t, "offer", offered)
			}
			if err := end(n.Server); err != nil {
				t.Error(err)
			}
			close(over)
			for _, c := range all {
				c.isCut()
			}
			within(t, "end of Serve", n.done)
			n.ln.awaitSources(t)
			n.finish(drained)
			if closed, _ := n.conns.count(); closed != len(all) {
				t.Errorf("%d connections are counted, want %d", closed, len(all))
			}
		})
	}
}
