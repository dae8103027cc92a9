//go:build linux

package grace

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wait"
)

// connect returns both ends of a connection.
func connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err == nil {
		server, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// A transfer that cannot be right fails before anything is sent. So does one without an upgrade.
func TestTransferOfWhatIsWrong(t *testing.T) {
	m := newTestManager(t)
	_, server := connect(t)
	c := server.(*net.TCPConn)
	err := m.Transfer(t.Context(), "lines", nil, nil)
	want := `grace: transfer a connection to "lines": the connection is nil`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	if err := m.Transfer(t.Context(), "lines", c, nil); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("without an upgrade: %v", err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Transfer(t.Context(), "lines", c, nil); !errors.Is(err, ErrNoSuccessor) {
		t.Errorf("after Shutdown: %v", err)
	}
	if stop, err := m.HandleTransfers("lines", nil); err == nil || stop != nil {
		t.Errorf("HandleTransfers accepts a nil function: %v", err)
	}
}

// startTransfers lets a manager receive what the returned function transfers to it.
func startTransfers(t *testing.T, m *Manager) (send func(syscall.Conn) error) {
	t.Helper()
	sender, end, err := transfer.NewSender(handoff.TransferPair)
	if err != nil {
		t.Fatal(err)
	}
	link, err := handoff.NewLink(end)
	if err != nil {
		t.Fatal(err)
	}
	receiver := transfer.NewReceiver(1, link, nil, m.handlers)
	var running sync.WaitGroup
	running.Go(func() { sender.Run(context.Background()) })   // ends with the link
	running.Go(func() { receiver.Run(context.Background()) }) // likewise
	t.Cleanup(func() { sender.Close(); running.Wait() })
	return func(c syscall.Conn) error { return sender.Send(context.Background(), "held", c, nil) }
}

// The drain waits for the calls, and nothing is taken that it would not wait for.
func TestDrainWaitsForTransferredConnections(t *testing.T) {
	m := newTestManager(t)
	send := startTransfers(t, m)
	began, release := make(chan net.Conn, 1), make(chan struct{})
	if _, err := m.HandleTransfers("held", func(c net.Conn, _ []byte) {
		select {
		case began <- c:
		default: // it is known
		}
		<-release
		c.Close()
	}); err != nil {
		t.Fatal(err)
	}
	_, server := connect(t)
	if err := send(server.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	<-began
	result := make(chan error, 1)
	go func() { result <- m.Shutdown(context.Background()) }() // ends with the calls
	var err error
	for err == nil {
		err = send(server.(*net.TCPConn))
	}
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "is draining") {
		t.Errorf("got %v", err)
	}
	if wait.IsClosed(m.life.drained) {
		t.Error("the drain has ended during a call")
	}
	close(release)
	if err := <-result; err != nil {
		t.Error(err)
	}
}
