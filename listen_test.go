package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/fds"
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
		"a bad name":          func() error { _, err := m.Listen(ctx, "tcp", "127.0.0.1:0", Name("a:b")); return err },
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

// gated gives a listener and a packet connection of a successor that waits for its commit.
func gated(t *testing.T) (*gate, *tcpListener, *udpConn) {
	t.Helper()
	set := fds.New()
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	ln, err := set.Open(t.Context(), fds.Ask{Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	pc, err := set.Open(t.Context(), fds.Ask{Network: "udp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	g := newGate()
	return g, newListener(ln, g, net.ListenConfig{}).(*tcpListener), newPacketConn(pc, g).(*udpConn)
}

func TestGateHoldsUntilItOpens(t *testing.T) {
	g, ln, pc := gated(t)
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sender, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if _, err := sender.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	// Both could go on at once; that they do not is seen by a deadline, which ends only a wait.
	for name, wait := range map[string]func() error{
		"Accept":    func() error { _, err := ln.Accept(); return err },
		"AcceptTCP": func() error { _, err := ln.AcceptTCP(); return err },
		"Read":      func() error { _, err := pc.Read(make([]byte, 1)); return err },
		"ReadFrom":  func() error { _, _, err := pc.ReadFrom(make([]byte, 1)); return err },
		"ReadMsgUDP": func() error {
			_, _, _, _, err := pc.ReadMsgUDP(make([]byte, 1), nil)
			return err
		},
	} {
		soon := time.Now().Add(20 * time.Millisecond)
		if err := errors.Join(ln.SetDeadline(soon), pc.SetReadDeadline(soon)); err != nil {
			t.Fatal(err)
		}
		if err := wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s returned %v behind a closed gate", name, err)
		}
	}
	if err := errors.Join(ln.SetDeadline(time.Time{}), pc.SetDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	go g.open()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	if _, _, err := pc.ReadFrom(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsAWaitAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := turnstile{gate: newGate()}
		result := make(chan error, 1)
		go func() { result <- turn.pass() }()
		synctest.Wait()
		turn.close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the wait ended with %v", err)
		}
		if err := turn.pass(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a later wait ended with %v", err)
		}
	})
}

func TestDeadlineAtTheGateCanBeMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := turnstile{gate: newGate()}
		turn.setDeadline(time.Now().Add(time.Second))
		began := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { turn.setDeadline(time.Now().Add(time.Hour)) })
		if err := turn.pass(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the wait ended with %v", err)
		}
		if took := time.Since(began); took != time.Hour+500*time.Millisecond {
			t.Errorf("the wait took %v", took)
		}
	})
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
