package fds

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// adopt makes a listener or packet connection of an heir's descriptor. The heir keeps the descriptor if that fails.
//
// Package net works on a duplicate, and the original is closed at once: one descriptor a socket stays. Its flags are not
// touched: os.File leaves O_NONBLOCK as it is on a descriptor that has it, and it is shared with the parent.
func adopt(ask Ask, h *heir) (Conn, error) {
	_, kind, err := kindOf(ask.Network)
	if err != nil {
		return nil, err
	}
	stream := kind == kindStream || kind == kindSeqpacket
	if stream && h.record.Given && !isListening(h.fd) { // FileListener takes connected sockets too
		return nil, wrongKind(ask, h)
	}
	if h.file == nil {
		h.file = os.NewFile(uintptr(h.fd), ask.Address)
	}
	conn, err := fileConn(h.file, stream)
	if err != nil {
		return nil, fmt.Errorf("take over %s for %s: %w", h, ask, err)
	}
	if !sameNetwork(conn, ask.Network) {
		return nil, errors.Join(wrongKind(ask, h), conn.Close())
	}
	h.close()
	return conn, nil
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

// sameNetwork reports whether the connection is of the type that package net returns for the network.
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

// close closes the descriptor, which nobody else owns.
func (h *heir) close() {
	if h.file != nil {
		_ = h.file.Close()
		h.file = nil
		return
	}
	_ = closeFD(h.fd)
}
