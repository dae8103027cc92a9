//go:build linux

package gracehttp

import (
	"context"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// A silent connection is counted once, as transferred or as closed, whoever holds it at the time.
func TestReportOfSilentConnections(t *testing.T) {
	n := newNode(t, &http.Server{Handler: names("old")}, WithIdleGrace(patience))
	leaves, moves, stays := n.dial(), n.dial(), n.dial()
	n.transferTo(func(ctx context.Context, name string, c syscall.Conn, state []byte) error {
		if c.(net.Conn).RemoteAddr().String() == stays.LocalAddr().String() {
			return refused(ctx, name, c, state)
		}
		return nil
	})
	eventually(t, "held", func() bool { return len(n.ln.idleConns()) == 3 })
	for range maxAwake { // so that it is not their turn
		n.transfers.awake <- struct{}{}
	}
	drained := n.drainAfterUpgrade()
	leaves.Close()
	eventually(t, "gone", func() bool { return len(n.ln.idleConns()) == 2 })
	for range maxAwake {
		n.transfers.freeSlot()
	}
	if body, last := stays.get("/"); body != "old" || !last {
		t.Errorf("got %q, last: %v", body, last)
	}
	stays.end()
	moves.isCut() // nobody else has it open
	n.finish(drained)
	if r := n.first().(DrainReport); r.Closed != 2 || r.Transferred != 1 || r.Cut != 0 {
		t.Errorf("%+v", r)
	}
}

// A connection that was silent for too long counts as closed.
func TestSilentForTooLongCountsAsClosed(t *testing.T) {
	n := newNode(t, &http.Server{})
	ours, client := pair(t)
	n.conns.begin() // as the drain does
	if !n.ln.hold(&idleConn{Conn: ours, deadline: time.Now().Add(time.Millisecond)}) {
		t.Fatal("the connection is not held")
	}
	client.end()
	if closed, left := n.conns.count(); closed != 1 || left != 0 {
		t.Errorf("%d connections have ended, and %d are left", closed, left)
	}
}
