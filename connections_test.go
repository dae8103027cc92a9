//go:build linux

package grace

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// stopping is a Manager that serves, and what happens to it.
func stopping(t *testing.T, opts ...Option) (*Manager, *recorder) {
	t.Helper()
	rec := &recorder{}
	own := []Option{
		WithUpgradeSignals(), WithShutdownSignals(), withWiring(wiring.Processes()), WithObserver(rec),
	}
	m, err := New(append(own, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Shutdown(context.Background()) })
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m, rec
}

// accepted returns both ends of a connection that came through a listener of the Manager.
func accepted(t *testing.T, m *Manager) (client, server net.Conn) {
	t.Helper()
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// awaitRefused waits until nobody listens on an address.
func awaitRefused(t *testing.T, addr net.Addr) {
	t.Helper()
	awaitThat(t, "the end of the listener", func() bool {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// A program needs no hook: the drain waits for what was accepted.
func TestDrainWaitsForConnections(t *testing.T) {
	m, rec := stopping(t)
	client, server := accepted(t, m)
	stopped := make(chan error, 1)
	go func() { stopped <- m.Shutdown(context.Background()) }()
	awaitRefused(t, client.RemoteAddr())
	if wait.IsClosed(m.life.drained) {
		t.Error("the drain has ended with a connection open")
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	server.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if end := find[graceevent.DrainFinished](rec); len(end) != 1 || len(end[0].Cut) > 0 {
		t.Errorf("the drain has ended as %+v", end)
	}
}

// A listener that its owner has closed has left connections, which count.
func TestDrainWaitsForConnectionsOfClosedListeners(t *testing.T) {
	m, rec := stopping(t, WithDrainTimeout(50*time.Millisecond))
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ln.Close()
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if end := find[graceevent.DrainFinished](rec); len(end) != 1 || end[0].CutConnections() != 1 {
		t.Errorf("the drain has ended as %+v", end)
	}
}

// The drain timeout is what the operator has asked for: what it cuts is counted, and is not an error.
func TestDrainTimeoutIsNotAnError(t *testing.T) {
	m, rec := stopping(t, WithDrainTimeout(50*time.Millisecond))
	accepted(t, m)
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	end := find[graceevent.DrainFinished](rec)
	if len(end) != 1 || end[0].CutConnections() != 1 || end[0].Duration < 50*time.Millisecond {
		t.Errorf("the drain has ended as %+v", end)
	}
}

// What the end of the sockets ends at the deadline has a moment for that.
func TestDrainTimeoutIsNoErrorOfFunctions(t *testing.T) {
	m, _ := stopping(t, WithDrainTimeout(50*time.Millisecond))
	accepted(t, m)
	pc, err := m.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.Go(func() error {
		for buf := make([]byte, 100); ; {
			if _, _, err := pc.ReadFrom(buf); err != nil {
				time.Sleep(10 * time.Millisecond) // it takes a while to notice
				return nil                        //nolint:nilerr // the end of the socket is no failure
			}
		}
	})
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestDrainWithoutConnectionWait(t *testing.T) {
	m, rec := stopping(t, WithoutConnectionWait(), WithDrainTimeout(time.Hour))
	accepted(t, m)
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if end := find[graceevent.DrainFinished](rec); len(end) != 1 || end[0].CutConnections() != 1 {
		t.Errorf("the drain has ended as %+v", end)
	}
}

// A connection that this process has dialled does not come from a listener of its own.
func TestDrainLeavesDialledConnections(t *testing.T) {
	m, _ := stopping(t, WithDrainTimeout(time.Hour))
	_, server := accepted(t, m) // its client, in this process, stays open
	server.Close()
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// Packets that were read are answered while connections are waited for.
func TestPacketsAreAnsweredInTheDrain(t *testing.T) {
	m, _ := stopping(t)
	_, server := accepted(t, m)
	pc, err := m.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- m.Shutdown(context.Background()) }()
	awaitRefused(t, server.LocalAddr())
	if _, err := pc.WriteTo([]byte("answer"), pc.LocalAddr()); err != nil {
		t.Error(err)
	}
	server.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := pc.WriteTo([]byte("late"), pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the drain: %v", err)
	}
}
