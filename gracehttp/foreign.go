package gracehttp

import (
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"syscall"

	"github.com/go-grace/grace"
)

// ForeignListener warns that a listener passed to [Start] was not opened by the Manager. The next
// process cannot take it over. An upgrade will fail because the address is already in use, or lose
// connections if the next process can listen elsewhere. Open the listener with
// [grace.Manager.Listen] instead.
//
// A listener is reported if it has a socket, and the Manager has no socket with the same address. A
// wrapper is reported if its own listener would be, and is in a field named Listener, as in
// wrappers that embed a [net.Listener]. The report is mistaken only about a listening socket that
// the application hands over by [grace.Manager.Pass].
//
// Observers receive it as the Report of a [grace.Reported] event, and the logger of the Manager
// logs it.
type ForeignListener struct {
	Server *http.Server
	Addr   net.Addr
}

// Describe implements [grace.Report].
func (r ForeignListener) Describe() (slog.Level, string, []slog.Attr) {
	const message = "HTTP listener was not opened by grace: the next process cannot take it over, " +
		"and an upgrade will fail with 'address already in use' or lose connections; " +
		"open it with Manager.Listen"
	return slog.LevelWarn, message, []slog.Attr{slog.String("address", r.Addr.String())}
}

// reportForeign reports a listener that the Manager has not opened.
func reportForeign(m *grace.Manager, srv *http.Server, ln net.Listener) {
	if socket := socketOf(ln); socket != nil && isForeign(m, socket) {
		m.Report(ForeignListener{Server: srv, Addr: socket.Addr()})
	}
}

// isForeign reports whether ln is open and has an address of which the Manager has no open socket.
func isForeign(m *grace.Manager, ln socketListener) bool {
	own := slices.ContainsFunc(m.Status().Sockets, func(s grace.Socket) bool {
		return s.Addr.Network() == ln.Addr().Network() && s.Addr.String() == ln.Addr().String()
	})
	if own || m.Cause() != nil { // a Manager that drains closes its sockets
		return false
	}
	raw, err := ln.SyscallConn() // after the look at the sockets: anybody may close one of them
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

// socketListener is a listener with a descriptor.
type socketListener interface {
	net.Listener
	syscall.Conn
}

// maxWrappers bounds the search for the socket below a listener.
const maxWrappers = 16

// socketOf returns the listener with a descriptor that is ln or is wrapped by ln, or nil if none is
// found. A wrapper may have another Addr than its socket.
func socketOf(ln net.Listener) socketListener {
	for range maxWrappers {
		if socket, ok := ln.(socketListener); ok {
			return socket
		}
		if ln = wrapped(ln); ln == nil {
			return nil
		}
	}
	return nil
}

// wrapped returns the listener in the field Listener of a wrapper, or nil if there is none.
func wrapped(ln net.Listener) net.Listener {
	v := reflect.Indirect(reflect.ValueOf(ln))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field, ok := v.Type().FieldByName("Listener")
	if !ok || len(field.Index) > 1 {
		return nil
	}
	inner, _ := reflect.TypeAssert[net.Listener](v.FieldByIndex(field.Index))
	return inner
}
