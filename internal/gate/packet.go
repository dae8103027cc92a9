package gate

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// NewPacketConn returns a packet connection behind the gate. It takes the socket, which is one of
// UDP, unixgram or IP. Only its reads wait: what was read can be answered after the gate is shut.
func NewPacketConn(sock *fds.Socket, g *Gate) net.PacketConn {
	switch c := sock.Conn().(type) {
	case *net.UDPConn:
		return &udpConn{newPacketConn(sock, g, c), udp{c}}
	case *net.UnixConn:
		return &unixgramConn{newPacketConn(sock, g, c), unixgram{c}}
	case *net.IPConn:
		return &ipConn{newPacketConn(sock, g, c), ip{c}}
	}
	panic("gate: a packet socket is neither UDP nor unix nor IP") // Set.Open returns nothing else
}

// netConn is what the three kinds of package net have in common.
type netConn interface {
	net.Conn
	net.PacketConn
	syscall.Conn
}

// packetConn has the methods that are the same for the three kinds. They hide those of package net,
// which are embedded one level deeper.
type packetConn struct {
	conn   netConn
	sock   *fds.Socket
	waiter *waiter
}

func newPacketConn(sock *fds.Socket, g *Gate, c netConn) packetConn {
	return packetConn{c, sock, newWaiter(g, sock.Addr(), c.SetReadDeadline)}
}

func (p *packetConn) Read(b []byte) (n int, err error) {
	err = p.read(func() error {
		n, err = p.conn.Read(b)
		return err
	})
	return n, err
}

func (p *packetConn) ReadFrom(b []byte) (n int, addr net.Addr, err error) {
	err = p.read(func() error {
		n, addr, err = p.conn.ReadFrom(b)
		return err
	})
	return n, addr, err
}

func (p *packetConn) read(take func() error) error { return p.waiter.call(opRead, take) }

func (p *packetConn) SetReadDeadline(t time.Time) error { return p.waiter.setDeadline(t) }

func (p *packetConn) SetDeadline(t time.Time) error {
	if err := p.waiter.setDeadline(t); err != nil {
		return err
	}
	return p.conn.SetWriteDeadline(t)
}

func (p *packetConn) SyscallConn() (syscall.RawConn, error) { return newRawConn(p.conn, p.waiter) }

func (p *packetConn) Close() error { return p.waiter.close(p.sock.Close) }

type (
	udp      struct{ *net.UDPConn }
	unixgram struct{ *net.UnixConn }
	ip       struct{ *net.IPConn }
)

type udpConn struct {
	packetConn
	udp
}

func (c *udpConn) ReadFromUDP(b []byte) (n int, addr *net.UDPAddr, err error) {
	err = c.read(func() error {
		n, addr, err = c.UDPConn.ReadFromUDP(b)
		return err
	})
	return n, addr, err
}

func (c *udpConn) ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error) {
	err = c.read(func() error {
		n, addr, err = c.UDPConn.ReadFromUDPAddrPort(b)
		return err
	})
	return n, addr, err
}

func (c *udpConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	err = c.read(func() error {
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDP(b, oob)
		return err
	})
	return n, oobn, flags, addr, err
}

func (c *udpConn) ReadMsgUDPAddrPort(
	b, oob []byte,
) (n, oobn, flags int, addr netip.AddrPort, err error) {
	err = c.read(func() error {
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDPAddrPort(b, oob)
		return err
	})
	return n, oobn, flags, addr, err
}

type unixgramConn struct {
	packetConn
	unixgram
}

func (c *unixgramConn) ReadFromUnix(b []byte) (n int, addr *net.UnixAddr, err error) {
	err = c.read(func() error {
		n, addr, err = c.UnixConn.ReadFromUnix(b)
		return err
	})
	return n, addr, err
}

func (c *unixgramConn) ReadMsgUnix(
	b, oob []byte,
) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	err = c.read(func() error {
		n, oobn, flags, addr, err = c.UnixConn.ReadMsgUnix(b, oob)
		return err
	})
	return n, oobn, flags, addr, err
}

type ipConn struct {
	packetConn
	ip
}

func (c *ipConn) ReadFromIP(b []byte) (n int, addr *net.IPAddr, err error) {
	err = c.read(func() error {
		n, addr, err = c.IPConn.ReadFromIP(b)
		return err
	})
	return n, addr, err
}

func (c *ipConn) ReadMsgIP(b, oob []byte) (n, oobn, flags int, addr *net.IPAddr, err error) {
	err = c.read(func() error {
		n, oobn, flags, addr, err = c.IPConn.ReadMsgIP(b, oob)
		return err
	})
	return n, oobn, flags, addr, err
}
