package grace

import (
	"net"
	"net/netip"
	"time"

	"github.com/go-grace/grace/internal/fds"
)

// newPacketConn wraps what ListenPacket returns.
func newPacketConn(sock *fds.Socket, g *gate) net.PacketConn {
	p := &packetSocket{sock: sock, turnstile: turnstile{gate: g}}
	switch c := sock.Conn().(type) {
	case *net.UDPConn:
		return &udpConn{UDPConn: c, packetSocket: p}
	case *net.UnixConn:
		return &unixgramConn{UnixConn: c, packetSocket: p}
	case *net.IPConn:
		return &ipConn{IPConn: c, packetSocket: p}
	}
	panic("grace: a packet socket is neither UDP nor unix nor IP") // Set.Open returns nothing else
}

// packetSocket is what the three kinds have in common.
type packetSocket struct {
	sock      *fds.Socket
	turnstile turnstile
}

// pass waits for the gate, like a read of the socket would.
func (p *packetSocket) pass() error {
	if err := p.turnstile.pass(); err != nil {
		addr := p.sock.Addr()
		return &net.OpError{Op: "read", Net: addr.Network(), Source: addr, Err: err}
	}
	return nil
}

func (p *packetSocket) Close() error {
	p.turnstile.close()
	return p.sock.Close()
}

type udpConn struct {
	*net.UDPConn
	*packetSocket
}

func (c *udpConn) Close() error { return c.packetSocket.Close() }

func (c *udpConn) SetDeadline(t time.Time) error {
	c.turnstile.setDeadline(t)
	return c.UDPConn.SetDeadline(t)
}

func (c *udpConn) SetReadDeadline(t time.Time) error {
	c.turnstile.setDeadline(t)
	return c.UDPConn.SetReadDeadline(t)
}

func (c *udpConn) Read(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.UDPConn.Read(b)
}

func (c *udpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if err := c.pass(); err != nil {
		return 0, nil, err
	}
	return c.UDPConn.ReadFrom(b)
}

func (c *udpConn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	if err := c.pass(); err != nil {
		return 0, nil, err
	}
	return c.UDPConn.ReadFromUDP(b)
}

func (c *udpConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	if err := c.pass(); err != nil {
		return 0, netip.AddrPort{}, err
	}
	return c.UDPConn.ReadFromUDPAddrPort(b)
}

func (c *udpConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	if err := c.pass(); err != nil {
		return 0, 0, 0, nil, err
	}
	return c.UDPConn.ReadMsgUDP(b, oob)
}

func (c *udpConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	if err := c.pass(); err != nil {
		return 0, 0, 0, netip.AddrPort{}, err
	}
	return c.UDPConn.ReadMsgUDPAddrPort(b, oob)
}

type unixgramConn struct {
	*net.UnixConn
	*packetSocket
}

func (c *unixgramConn) Close() error { return c.packetSocket.Close() }

func (c *unixgramConn) SetDeadline(t time.Time) error {
	c.turnstile.setDeadline(t)
	return c.UnixConn.SetDeadline(t)
}

func (c *unixgramConn) SetReadDeadline(t time.Time) error {
	c.turnstile.setDeadline(t)
	return c.UnixConn.SetReadDeadline(t)
}

func (c *unixgramConn) Read(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.UnixConn.Read(b)
}

func (c *unixgramConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if err := c.pass(); err != nil {
		return 0, nil, err
	}
	return c.UnixConn.ReadFrom(b)
}

func (c *unixgramConn) ReadFromUnix(b []byte) (int, *net.UnixAddr, error) {
	if err := c.pass(); err != nil {
		return 0, nil, err
	}
	return c.UnixConn.ReadFromUnix(b)
}

func (c *unixgramConn) ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	if err := c.pass(); err != nil {
		return 0, 0, 0, nil, err
	}
	return c.UnixConn.ReadMsgUnix(b, oob)
}

type ipConn struct {
	*net.IPConn
	*packetSocket
}

func (c *ipConn) Close() error { return c.packetSocket.Close() }

func (c *ipConn) SetDeadline(t time.Time) error {
	c.turnstile.setDeadline(t)
	return c.IPConn.SetDeadline(t)
}

func (c *ipConn) SetReadDeadline(t time.Time) error {
	c.turnstile.setDeadline(t)
	return c.IPConn.SetReadDeadline(t)
}

func (c *ipConn) Read(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.IPConn.Read(b)
}

func (c *ipConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if err := c.pass(); err != nil {
		return 0, nil, err
	}
	return c.IPConn.ReadFrom(b)
}

func (c *ipConn) ReadFromIP(b []byte) (int, *net.IPAddr, error) {
	if err := c.pass(); err != nil {
		return 0, nil, err
	}
	return c.IPConn.ReadFromIP(b)
}

func (c *ipConn) ReadMsgIP(b, oob []byte) (n, oobn, flags int, addr *net.IPAddr, err error) {
	if err := c.pass(); err != nil {
		return 0, 0, 0, nil, err
	}
	return c.IPConn.ReadMsgIP(b, oob)
}
