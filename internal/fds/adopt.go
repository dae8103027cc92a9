package fds

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// adopt makes a listener or packet connection from an inherited descriptor. If that fails, d still
// owns it.
//
// Package net works on a duplicate, and the original is closed at once, so each socket has one
// descriptor. Its flags stay as they are: O_NONBLOCK is shared with the parent, and os.File leaves
// it alone where it is already set.
func adopt(ask Ask, d *descriptor) (Conn, error) {
	_, kind, err := kindOf(ask.Network)
	if err != nil {
		return nil, err
	}
	stream := kind == kindStream || kind == kindSeqpacket
	if stream && d.record.Given && !inspect(d.fd).listening { // FileListener accepts connected sockets
		return nil, wrongKind(ask, d)
	}
	if d.record.Given && lostDevice(d.fd) {
		return nil, fmt.Errorf("take over %s for %s: it is bound to a network device that is gone: "+
			"have whoever has passed it make it again", d, ask)
	}
	conn, err := d.open(ask, stream)
	if err != nil {
		return nil, fmt.Errorf("take over %s for %s: %w", d, ask, err)
	}
	if !sameNetwork(conn, ask.Network) {
		return nil, errors.Join(wrongKind(ask, d), conn.Close())
	}
	d.close()
	return conn, nil
}

// open makes a connection of package net, which gets a duplicate.
func (d *descriptor) open(ask Ask, stream bool) (conn Conn, err error) {
	shown := d.carrier.show(d.fd, func(f *os.File) { conn, err = fileConn(f, stream) })
	if shown {
		return conn, err
	}
	if d.file == nil {
		d.file = os.NewFile(uintptr(d.fd), ask.Address)
	}
	return fileConn(d.file, stream)
}

func fileConn(f *os.File, stream bool) (Conn, error) {
	if stream {
		ln, err := net.FileListener(f)
		if err != nil {
			return nil, err
		}
		return ln.(Conn), nil
	}
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return pc.(Conn), nil
}

// sameNetwork reports whether conn has the type that package net returns for the network.
func sameNetwork(conn Conn, network string) bool {
	fam, kind, _ := kindOf(network)
	switch c := conn.(type) {
	case *net.TCPListener:
		return fam != familyUnix && kind == kindStream
	case *net.UDPConn:
		return fam != familyUnix && kind == kindDatagram
	case *net.IPConn:
		return kind == kindRaw
	case *net.UnixListener:
		return c.Addr().Network() == network
	case *net.UnixConn:
		return c.LocalAddr().Network() == network
	}
	return false
}

// close closes the descriptor.
func (d *descriptor) close() {
	if d.file != nil {
		_ = d.file.Close()
		d.file = nil
		return
	}
	_ = closeFD(d.fd)
}
