// Package pipenet has a network within the process, for tests: its connections work in the time of
// a synctest bubble, which sockets do not.
package pipenet

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Listener accepts what Dial connects. Several goroutines may use it.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen makes a listener.
func Listen() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial connects, when the listener accepts, as [net.Pipe] does: a Write waits until all of it is
// read. The connections have CloseWrite, as those of TCP. The error of a closed listener is
// [net.ErrClosed], here as of Accept.
func (l *Listener) Dial() (net.Conn, error) {
	client, server := pair()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		_, _ = client.Close(), server.Close()
		return nil, net.ErrClosed
	}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and leaves the connections.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// conn is an end of a connection. Each direction is a pipe of its own, so that one can be closed
// before the other.
type conn struct {
	in, out net.Conn
}

func pair() (client, server net.Conn) {
	toServer, fromClient := net.Pipe()
	toClient, fromServer := net.Pipe()
	return &conn{in: fromServer, out: toServer}, &conn{in: fromClient, out: toClient}
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *conn) CloseWrite() error           { return c.out.Close() }
func (c *conn) Close() error                { return errors.Join(c.in.Close(), c.out.Close()) }
func (c *conn) LocalAddr() net.Addr         { return addr{} }
func (c *conn) RemoteAddr() net.Addr        { return addr{} }

func (c *conn) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Addr is the same for all.
func (l *Listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "pipe" }
func (addr) String() string  { return "pipe" }
