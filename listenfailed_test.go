package grace

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
)

// The observers learn of each address at which a process cannot listen, and the error is still that
// of package net. A process that no longer serves has not failed.
func TestListenThatFailsIsAnEvent(t *testing.T) {
	var failed []graceevent.ListenFailed
	obs := graceevent.ObserverFunc(func(_ context.Context, r graceevent.Record) {
		if e, ok := r.Event.(graceevent.ListenFailed); ok {
			failed = append(failed, e)
		}
	})
	m := newFakeManager(t, inheritance{generation: 1, sockets: fds.New()}, nil, WithObserver(obs))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, inUse := m.Listen(t.Context(), "tcp", ln.Addr().String())
	if _, ok := errors.AsType[*net.OpError](inUse); !ok || !errors.Is(inUse, syscall.EADDRINUSE) {
		t.Errorf("got %v", inUse)
	}
	_, unknown := m.ListenPacket(t.Context(), "tcp", "127.0.0.1:0")
	_, invalid := m.ListenTCP(t.Context(), "tcp", &net.TCPAddr{Port: 1 << 20})
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0"); !errors.Is(err, ErrShutdown) {
		t.Errorf("got %v", err)
	}
	want := []graceevent.ListenFailed{
		{Network: "tcp", Address: ln.Addr().String(), Err: inUse},
		{Network: "tcp", Address: "127.0.0.1:0", Err: unknown},
		{Network: "tcp", Address: ":1048576", Err: invalid},
	}
	if len(failed) != len(want) {
		t.Fatalf("there were %v", failed)
	}
	for i, got := range failed {
		if got != want[i] {
			t.Errorf("got %v, want %v", got, want[i])
		}
	}
}
