package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
)

func TestListenFunctions(t *testing.T) {
	m := newTestManager(t)
	ctx := t.Context()
	path := func() string { return filepath.Join(t.TempDir(), "s") }
	open := map[string]func() (io.Closer, error){
		"Listen tcp":            func() (io.Closer, error) { return m.Listen(ctx, "tcp", "127.0.0.1:0") },
		"Listen unix":           func() (io.Closer, error) { return m.Listen(ctx, "unix", path()) },
		"ListenTCP":             func() (io.Closer, error) { return m.ListenTCP(ctx, "tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}) },
		"ListenTCP nil":         func() (io.Closer, error) { return m.ListenTCP(ctx, "tcp", nil) },
		"ListenUnix":            func() (io.Closer, error) { return m.ListenUnix(ctx, "unix", &net.UnixAddr{Name: path(), Net: "unix"}) },
		"ListenPacket udp":      func() (io.Closer, error) { return m.ListenPacket(ctx, "udp", "127.0.0.1:0") },
		"ListenPacket unixgram": func() (io.Closer, error) { return m.ListenPacket(ctx, "unixgram", path()) },
		"ListenUDP":             func() (io.Closer, error) { return m.ListenUDP(ctx, "udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) },
		"ListenUnixgram": func() (io.Closer, error) {
			return m.ListenUnixgram(ctx, "unixgram", &net.UnixAddr{Name: path(), Net: "unixgram"})
		},
	}
	for name, f := range open {
		c, err := f()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(m.Status().Sockets) != 1 {
			t.Errorf("%s: %d sockets are open", name, len(m.Status().Sockets))
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
		if len(m.Status().Sockets) != 0 {
			t.Errorf("%s: a closed socket counts as open", name)
		}
	}
}

func TestListenRefusesWhatItCannotServe(t *testing.T) {
	m := newTestManager(t)
	ctx := t.Context()
	for name, f := range map[string]func() error{
		"Listen udp":          func() error { _, err := m.Listen(ctx, "udp", "127.0.0.1:0"); return err },
		"Listen nonsense":     func() error { _, err := m.Listen(ctx, "quic", "127.0.0.1:0"); return err },
		"ListenPacket tcp":    func() error { _, err := m.ListenPacket(ctx, "tcp", "127.0.0.1:0"); return err },
		"ListenTCP udp":       func() error { _, err := m.ListenTCP(ctx, "udp", nil); return err },
		"ListenUnix nil":      func() error { _, err := m.ListenUnix(ctx, "unix", nil); return err },
		"ListenUnixgram unix": func() error { _, err := m.ListenUnixgram(ctx, "unix", &net.UnixAddr{Name: "x"}); return err },
		"a bad name":          func() error { _, err := m.Listen(ctx, "tcp", "127.0.0.1:0", WithName("a:b")); return err },
		"a bad address":       func() error { _, err := m.Listen(ctx, "tcp", "127.0.0.1:http:"); return err },
	} {
		var op *net.OpError
		if err := f(); !errors.As(err, &op) || op.Op != "listen" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(m.Status().Sockets); n > 0 {
		t.Errorf("%d sockets are open", n)
	}
}

// gracenet's documented bug is that it "doesn't handle closing of listeners". A typed listener is the standard library's own,
// and tells nobody that it was closed.
func TestClosedTypedListenerIsNotHandedOver(t *testing.T) {
	m := newTestManager(t)
	kept, err := m.ListenTCP(t.Context(), "tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	closed, err := m.ListenTCP(t.Context(), "tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	loan, err := m.sockets.Lend()
	if err != nil {
		t.Fatal(err)
	}
	loan.Release()
	m.sockets.TakeBack()
	if len(loan.FDs) != 1 || loan.Records[0].Address != "127.0.0.1:0" {
		t.Errorf("lent %d sockets: %v", len(loan.FDs), loan.Records)
	}
	if _, err := net.Dial("tcp", closed.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port of the closed listener: %v", err)
	}
	c, err := net.Dial("tcp", kept.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestAcceptErrorsAreThoseOfPackageNet(t *testing.T) {
	m := newTestManager(t)
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		ln, err := m.Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		c, err := ln.Accept()
		if c != nil || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Accept of a closed listener: %v, %v", network, c, err)
		}
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: second Close: %v", network, err)
		}
	}
}

func TestListenIsBoundedByItsContext(t *testing.T) {
	m := newTestManager(t)
	loan, err := m.sockets.Lend()
	if err != nil {
		t.Fatal(err)
	}
	loan.Release()
	why := errors.New("no time")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := m.Listen(ctx, "tcp", "127.0.0.1:0"); !errors.Is(err, why) {
		t.Errorf("Listen during an upgrade: %v", err)
	}
	m.sockets.TakeBack()
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}
