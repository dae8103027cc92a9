//go:build linux

package gracehttp

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

// One upgrade hands over thousands of idle connections, and each of them is used again.
func TestThousandsOfIdleConnections(t *testing.T) {
	t.Parallel()
	want := 4000
	var limit syscall.Rlimit // package os has raised it as far as possible
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if room := int(limit.Cur) - 200; room < want { // other tests run meanwhile
		want = max(room, 500)
		t.Logf("the descriptor limit is %d, so there are only %d connections", limit.Cur, want)
	}
	s := start(t, config{Idle: true, Grace: patience})
	conns := make([]*connection, want)
	for i := range conns {
		conns[i] = s.connect()
	}
	askAll(t, conns, "1")
	s.upgrade()
	s.awaitTransferred(1, want)
	askAll(t, conns, "2")
	for _, c := range conns {
		c.Close()
	}
	s.stop()
}

// askAll sends a request on each connection, several at a time.
func askAll(t testing.TB, conns []*connection, want string) {
	t.Helper()
	todo := make(chan *connection, len(conns))
	for _, c := range conns {
		todo <- c
	}
	close(todo)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for c := range todo {
				_ = c.SetDeadline(time.Now().Add(patience)) // a slow machine takes its time up to here
				if who, last, err := c.tryGet("/who"); who != want || last || err != nil {
					t.Errorf("process %s answered, last: %v; %v", who, last, err)
				}
			}
		})
	}
	asking.Wait()
}
