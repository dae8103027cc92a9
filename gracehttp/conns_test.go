//go:build linux

package gracehttp

import (
	"net/http"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// The descriptors of hidden connections are looked for at once: one search for each of them would
// hold up the begin of the drain.
func TestManyHiddenConnections(t *testing.T) {
	const n = 1000
	ln := listen(t)
	defer ln.Close()
	var cs conns
	cs.hijacked = make(map[*conn]struct{})
	for range n {
		client := dial(t, "tcp", ln.Addr().String())
		defer client.Close()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		hidden := &conn{Conn: opaque{c, c}, state: http.StateHijacked, handlerReturned: true}
		cs.hijacked[hidden] = struct{}{}
	}
	began := time.Now()
	new(fds.Index).Find(ln.Addr(), ln.Addr())
	one := time.Since(began)
	began = time.Now()
	cs.begin()
	if all := time.Since(began); all > n/10*one {
		t.Errorf("the search for %d connections takes %v, for one %v", n, all, one)
	}
	if len(cs.hijacked) != n {
		t.Errorf("%d of %d connections are found", len(cs.hijacked), n)
	}
}
