//go:build unix

package fds

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutAcceptConn makes SO_ACCEPTCONN what it is on macOS and OpenBSD.
func withoutAcceptConn(t *testing.T) {
	t.Helper()
	was := acceptConn
	acceptConn = func(int) (int, error) { return 0, unix.ENOPROTOOPT }
	t.Cleanup(func() { acceptConn = was })
}

// isListener inspects the descriptor of a socket of package net.
func isListener(t *testing.T, c any) (listening bool) {
	t.Helper()
	must(t, Control(c.(Conn), func(fd int) error {
		listening = inspect(fd).listening
		return nil
	}))
	return listening
}

func TestListenersWithoutAcceptConn(t *testing.T) {
	withoutAcceptConn(t)
	for network, address := range map[string]string{
		"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": sockPath(t), "unixpacket": sockPath(t),
	} {
		ln, err := net.Listen(network, address)
		must(t, err)
		client, err := net.Dial(network, ln.Addr().String())
		must(t, err)
		if !isListener(t, ln) {
			t.Errorf("%s: the listener is not recognized", network)
		}
		server, err := ln.Accept() // the client is still in the queue
		must(t, err)
		if isListener(t, server) || isListener(t, client) {
			t.Errorf("%s: a connection is taken for a listener", network)
		}
		if tcp, ok := client.(*net.TCPConn); ok {
			must(t, tcp.SetLinger(0)) // a reset, after which the connection has no peer
		}
		must(t, client.Close())
		_, _ = server.Read(make([]byte, 1)) // until the end has come
		if isListener(t, server) {
			t.Errorf("%s: a connection at its end is taken for a listener", network)
		}
		must(t, server.Close())
		must(t, ln.Close())
	}
}

func TestOtherSocketsWithoutAcceptConn(t *testing.T) {
	withoutAcceptConn(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer pc.Close()
	if isListener(t, pc) {
		t.Error("a datagram socket is taken for a listener")
	}
	for _, family := range []int{unix.AF_INET, unix.AF_UNIX} {
		fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		must(t, err)
		if inspect(fd).listening {
			t.Errorf("a fresh socket of family %d is taken for a listener", family)
		}
		must(t, unix.Close(fd))
	}
}
