package grace

import (
	"errors"
	"net"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// newListener wraps what Listen returns.
func newListener(sock *fds.Socket, g *gate, config net.ListenConfig) net.Listener {
	switch ln := sock.Conn().(type) {
	case *net.TCPListener:
		return &tcpListener{TCPListener: ln, sock: sock, turnstile: turnstile{gate: g}, keepAlive: lostKeepAlive(sock.Inherited(), config)}
	case *net.UnixListener:
		return &unixListener{UnixListener: ln, sock: sock, turnstile: turnstile{gate: g}}
	}
	panic("grace: a stream socket is neither TCP nor unix") // Set.Open returns nothing else
}

type tcpListener struct {
	*net.TCPListener
	sock      *fds.Socket
	turnstile turnstile
	keepAlive func(*net.TCPConn) error // nil where package net sees to it
}

func (l *tcpListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err // not a nil *TCPConn in an interface
	}
	return c, nil
}

func (l *tcpListener) AcceptTCP() (*net.TCPConn, error) {
	if err := l.turnstile.pass(); err != nil {
		return nil, acceptError(l, err)
	}
	c, err := l.TCPListener.AcceptTCP()
	if err == nil && l.keepAlive != nil {
		_ = l.keepAlive(c) // as package net does: a connection that is gone already says so soon enough
	}
	return c, err
}

// AcceptsPlainConns reports whether Accept returns connections of package net as they are. gracehttp
// asks: it drains HTTP/2 in another way where a connection may hide its TLS.
func (l *tcpListener) AcceptsPlainConns() bool { return true }

func (l *tcpListener) SetDeadline(t time.Time) error {
	l.turnstile.setDeadline(t)
	return l.TCPListener.SetDeadline(t)
}

func (l *tcpListener) Close() error {
	l.turnstile.close()
	return l.sock.Close()
}

type unixListener struct {
	*net.UnixListener
	sock      *fds.Socket
	turnstile turnstile
}

func (l *unixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l *unixListener) AcceptUnix() (*net.UnixConn, error) {
	if err := l.turnstile.pass(); err != nil {
		return nil, acceptError(l, err)
	}
	return l.UnixListener.AcceptUnix()
}

// AcceptsPlainConns reports whether Accept returns connections of package net as they are. gracehttp
// asks: it drains HTTP/2 in another way where a connection may hide its TLS.
func (l *unixListener) AcceptsPlainConns() bool { return true }

func (l *unixListener) SetDeadline(t time.Time) error {
	l.turnstile.setDeadline(t)
	return l.UnixListener.SetDeadline(t)
}

func (l *unixListener) Close() error {
	l.turnstile.close()
	return l.sock.Close()
}

func acceptError(ln net.Listener, err error) error {
	return &net.OpError{Op: "accept", Net: ln.Addr().Network(), Addr: ln.Addr(), Err: err}
}

// lostKeepAlive gives what is to be done to each connection of an inherited listener, on which package net sets its default
// keep-alive (golang.org/issue/23378); nil if there is nothing to do.
func lostKeepAlive(inherited bool, config net.ListenConfig) func(*net.TCPConn) error {
	switch {
	case !inherited:
		return nil
	case config.KeepAliveConfig.Enable:
		return func(c *net.TCPConn) error { return c.SetKeepAliveConfig(config.KeepAliveConfig) }
	case config.KeepAlive < 0:
		return func(c *net.TCPConn) error { return c.SetKeepAlive(false) }
	case config.KeepAlive > 0:
		return func(c *net.TCPConn) error {
			return errors.Join(c.SetKeepAlive(true), c.SetKeepAlivePeriod(config.KeepAlive))
		}
	}
	return nil
}
