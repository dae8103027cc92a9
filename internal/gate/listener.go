package gate

import (
	"net"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// NewListener returns a listener behind the gate. It takes the socket, which listens on TCP or
// unix, and gives the connections it accepts the keep-alive of the config.
func NewListener(sock *fds.Socket, g *Gate, config net.ListenConfig) net.Listener {
	switch ln := sock.Conn().(type) {
	case *net.TCPListener:
		return &tcpListener{
			TCPListener: ln,
			sock:        sock,
			waiter:      newWaiter(g, sock.Addr(), ln.SetDeadline),
			keepAlive:   lostKeepAlive(sock.LacksConfig(), config),
		}
	case *net.UnixListener:
		return &unixListener{
			UnixListener: ln,
			sock:         sock,
			waiter:       newWaiter(g, sock.Addr(), ln.SetDeadline),
		}
	}
	panic("gate: the socket listens neither on TCP nor on unix") // Set.Open returns nothing else
}

type tcpListener struct {
	*net.TCPListener
	sock      *fds.Socket
	waiter    *waiter
	keepAlive func(*net.TCPConn) error // nil where package net sets it
}

func (l *tcpListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err // not a nil *TCPConn in an interface
	}
	return c, nil
}

func (l *tcpListener) AcceptTCP() (c *net.TCPConn, err error) {
	err = l.waiter.call(opAccept, func() error {
		c, err = l.TCPListener.AcceptTCP()
		return err
	})
	if err == nil && l.keepAlive != nil {
		_ = l.keepAlive(c) // as in package net: a connection that is gone says so soon
	}
	return c, err
}

func (l *tcpListener) SetDeadline(t time.Time) error { return l.waiter.setDeadline(t) }

func (l *tcpListener) SyscallConn() (syscall.RawConn, error) {
	return newRawConn(l.TCPListener, l.waiter)
}

// AcceptsPlainConns reports whether Accept returns connections of package net as they are.
// gracehttp asks for it.
func (l *tcpListener) AcceptsPlainConns() bool { return true }

func (l *tcpListener) Close() error { return l.waiter.close(l.sock.Close) }

type unixListener struct {
	*net.UnixListener
	sock   *fds.Socket
	waiter *waiter
}

func (l *unixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l *unixListener) AcceptUnix() (c *net.UnixConn, err error) {
	err = l.waiter.call(opAccept, func() error {
		c, err = l.UnixListener.AcceptUnix()
		return err
	})
	return c, err
}

func (l *unixListener) SetDeadline(t time.Time) error { return l.waiter.setDeadline(t) }

func (l *unixListener) SyscallConn() (syscall.RawConn, error) {
	return newRawConn(l.UnixListener, l.waiter)
}

// AcceptsPlainConns is that of tcpListener.
func (l *unixListener) AcceptsPlainConns() bool { return true }

func (l *unixListener) Close() error { return l.waiter.close(l.sock.Close) }
