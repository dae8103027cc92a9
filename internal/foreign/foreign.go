// Package foreign finds listeners that a Manager has not opened: the next process cannot take them
// over. It is the rule by which the adapters warn of them.
package foreign

import (
	"log/slog"
	"net"
	"slices"
	"syscall"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/unwrap"
)

// Addr returns the address of the socket of a listener, or nil if the listener is not foreign: it
// has no socket, its socket is closed, or it has the address of one of the Manager's own sockets.
//
// A wrapper is looked through if it holds its own listener in a field named Listener, as wrappers
// that embed a [net.Listener] do. It may claim to have another address than its socket.
//
// The caller has listed the sockets before the call. They are not complete if the Manager has
// begun to drain, which the caller finds out afterwards.
func Addr(ln net.Listener, own []graceevent.Socket) net.Addr {
	socket := socketOf(ln)
	if socket == nil || IsOwn(socket.Addr(), own) || !isOpen(socket) {
		return nil
	}
	return socket.Addr()
}

// MayHold reports whether a listener may have accepted connections that its Accept has not returned
// yet, as those of multiplexers have: it is neither one of package net nor of Manager.Listen.
func MayHold(ln net.Listener) bool {
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener, interface{ AcceptsPlainConns() bool }:
		return false
	}
	return true
}

// Describe returns how a foreign listener of a protocol is logged.
func Describe(protocol string, addr net.Addr) (slog.Level, string, []slog.Attr) {
	message := protocol + " listener was not opened by grace: the next process cannot take it over, " +
		"and an upgrade will fail with 'address already in use' or lose connections; " +
		"open it with Manager.Listen"
	return slog.LevelWarn, message, []slog.Attr{slog.String("address", addr.String())}
}

// IsOwn reports whether one of the Manager's own sockets has the address.
func IsOwn(addr net.Addr, own []graceevent.Socket) bool {
	return slices.ContainsFunc(own, func(s graceevent.Socket) bool {
		return s.Addr.Network() == addr.Network() && s.Addr.String() == addr.String()
	})
}

// socketListener is a listener with a descriptor.
type socketListener interface {
	net.Listener
	syscall.Conn
}

func isOpen(ln socketListener) bool {
	raw, err := ln.SyscallConn()
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

// socketOf returns the listener with a descriptor that is ln or is wrapped by ln, or nil if none is
// found.
func socketOf(ln net.Listener) socketListener {
	for range unwrap.Max {
		if socket, ok := ln.(socketListener); ok {
			return socket
		}
		if ln = unwrap.Field[net.Listener](ln, "Listener"); ln == nil {
			return nil
		}
	}
	return nil
}
