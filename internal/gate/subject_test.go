//go:build unix

package gate

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// networks are the kinds of sockets, each with an address to listen on; for unix, the name of a
// file.
var networks = map[string]string{
	"tcp": "127.0.0.1:0", "unix": "s", "unixpacket": "p",
	"udp": "127.0.0.1:0", "unixgram": "d", "ip4:253": "127.0.0.1",
}

// gated is what all sockets behind a gate have.
type gated interface {
	syscall.Conn
	SetDeadline(time.Time) error
	Close() error
	File() (*os.File, error)
}

// subject is a socket behind a gate of its own, and those who use it.
type subject struct {
	gated
	t       testing.TB
	network string
	gate    *Gate
	sock    *fds.Socket
	waiter  *waiter
	ways    map[string]func() error // to take something, by the name of the method
	take    func() error            // one of them
}

// forEach runs a test for each kind of socket.
func forEach(t *testing.T, test func(*testing.T, *subject)) {
	t.Helper()
	for network := range networks {
		t.Run(network, func(t *testing.T) { test(t, newSubject(t, network, New())) })
	}
}

// forEachWay runs a test for each method of each kind of socket that takes something.
func forEachWay(t *testing.T, test func(*testing.T, *subject)) {
	t.Helper()
	forEach(t, func(t *testing.T, first *subject) {
		for way := range first.ways {
			t.Run(way, func(t *testing.T) {
				s := newSubject(t, first.network, New())
				s.take = s.ways[way]
				test(t, s)
			})
		}
	})
}

func newSubject(t testing.TB, network string, g *Gate) *subject {
	t.Helper()
	set := fds.New()
	t.Cleanup(func() { must(t, set.Close()) })
	address := networks[network]
	if strings.HasPrefix(network, "unix") {
		address = filepath.Join(shortDir(t), address)
	}
	sock, err := set.Open(t.Context(), fds.Ask{Network: network, Address: address})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		t.Skipf("%s is not possible here: %v", network, err)
	}
	must(t, err)
	s := &subject{t: t, network: network, gate: g, sock: sock}
	if _, ok := sock.Conn().(net.Listener); ok {
		s.wrapListener()
	} else {
		s.wrapPacketConn()
	}
	return s
}

func (s *subject) wrapListener() {
	switch ln := NewListener(s.sock, s.gate, net.ListenConfig{}).(type) {
	case *tcpListener:
		s.gated, s.waiter, s.take = ln, ln.waiter, accepts(ln.Accept)
		s.ways = map[string]func() error{"Accept": s.take, "AcceptTCP": accepts(ln.AcceptTCP)}
	case *unixListener:
		s.gated, s.waiter, s.take = ln, ln.waiter, accepts(ln.Accept)
		s.ways = map[string]func() error{"Accept": s.take, "AcceptUnix": accepts(ln.AcceptUnix)}
	}
}

// accepts closes what is accepted.
func accepts[C net.Conn](accept func() (C, error)) func() error {
	return func() error {
		c, err := accept()
		if err != nil {
			return err
		}
		return c.Close()
	}
}

func (s *subject) wrapPacketConn() {
	b, oob := make([]byte, 100), make([]byte, 0)
	pc := NewPacketConn(s.sock, s.gate)
	s.take = func() error { _, _, err := pc.ReadFrom(b); return err }
	s.ways = map[string]func() error{
		"Read":        func() error { _, err := pc.(net.Conn).Read(b); return err },
		"ReadFrom":    s.take,
		"SyscallConn": func() error { return readRaw(pc.(syscall.Conn), b) },
	}
	switch c := pc.(type) {
	case *udpConn:
		s.gated, s.waiter = c, c.waiter
		s.ways["ReadFromUDP"] = func() error { _, _, err := c.ReadFromUDP(b); return err }
		s.ways["ReadFromUDPAddrPort"] = func() error {
			_, _, err := c.ReadFromUDPAddrPort(b)
			return err
		}
		s.ways["ReadMsgUDP"] = func() error { _, _, _, _, err := c.ReadMsgUDP(b, oob); return err }
		s.ways["ReadMsgUDPAddrPort"] = func() error {
			_, _, _, _, err := c.ReadMsgUDPAddrPort(b, oob)
			return err
		}
	case *unixgramConn:
		s.gated, s.waiter = c, c.waiter
		s.ways["ReadFromUnix"] = func() error { _, _, err := c.ReadFromUnix(b); return err }
		s.ways["ReadMsgUnix"] = func() error {
			_, _, _, _, err := c.ReadMsgUnix(b, oob)
			return err
		}
	case *ipConn:
		s.gated, s.waiter = c, c.waiter
		s.ways["ReadFromIP"] = func() error { _, _, err := c.ReadFromIP(b); return err }
		s.ways["ReadMsgIP"] = func() error { _, _, _, _, err := c.ReadMsgIP(b, oob); return err }
	}
}

// readRaw reads as libraries do that read many packets at once.
func readRaw(c syscall.Conn, b []byte) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		_, _, readErr = syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT)
		return !errors.Is(readErr, syscall.EAGAIN) && !errors.Is(readErr, syscall.EINTR)
	})
	return errors.Join(err, readErr)
}

// send has a connection or a packet come.
func (s *subject) send() {
	s.t.Helper()
	addr := s.sock.Addr().String()
	c, err := net.Dial(s.network, addr)
	must(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	if !s.isListener() {
		_, err := c.Write([]byte("x"))
		must(s.t, err)
	}
}

func (s *subject) isListener() bool {
	_, ok := s.gated.(net.Listener)
	return ok
}

// takeElsewhere takes what has come as a successor would: it has the same socket.
func (s *subject) takeElsewhere() {
	s.t.Helper()
	f, err := s.File()
	must(s.t, err)
	defer f.Close()
	if !s.isListener() {
		pc, err := net.FilePacketConn(f)
		must(s.t, err)
		defer pc.Close()
		must(s.t, pc.SetDeadline(time.Now().Add(patience)))
		_, _, err = pc.ReadFrom(make([]byte, 100))
		must(s.t, err)
		return
	}
	ln, err := net.FileListener(f)
	must(s.t, err)
	defer ln.Close()
	must(s.t, ln.(gated).SetDeadline(time.Now().Add(patience)))
	must(s.t, accepts(ln.Accept)())
}

// start starts a call.
func (s *subject) start() <-chan error {
	result := make(chan error, 1)
	go func() { result <- s.take() }() // ends when the socket is closed at the latest
	s.t.Cleanup(func() { s.Close() })
	return result
}

// block starts a call and returns when it is in the system.
func (s *subject) block() <-chan error {
	s.t.Helper()
	result := s.start()
	awaitThat(s.t, "a call in the system", func() bool { return s.waiter.calls.count.Load() == 1 })
	return result
}

// wait starts a call and returns when it waits at the gate.
func (s *subject) wait() <-chan error {
	s.t.Helper()
	result := s.start()
	s.awaitWait()
	return result
}

func (s *subject) awaitWait() {
	s.t.Helper()
	awaitThat(s.t, "a call at the gate", func() bool {
		s.waiter.mu.Lock()
		defer s.waiter.mu.Unlock()
		return s.waiter.changed != nil
	})
}

func (s *subject) shut() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	must(s.t, s.gate.Shut(ctx))
}

// mustWait checks that a call waits, although something has come.
func (s *subject) mustWait() {
	s.t.Helper()
	must(s.t, s.SetDeadline(time.Now().Add(soon)))
	err := s.take()
	var op *net.OpError
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || !op.Timeout() {
		s.t.Errorf("at a gate that is not open, the call returned %v", err)
	}
}

// shortDir returns a directory whose name leaves room for that of a unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}
