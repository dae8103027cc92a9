package gracehttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/foreign"
)

// ForeignListener is a [graceevent.Event]. It warns that a listener passed to [Start] was not
// opened by the Manager. The next process cannot take it over. An upgrade will fail because the
// address is already in use, or lose connections if the next process can listen elsewhere. Open the
// listener with [grace.Manager.Listen] instead.
//
// A listener is reported if it has a socket, and the Manager has no socket with the same address. A
// wrapper is reported if its own listener would be, and is in a field named Listener, as in
// wrappers that embed a [net.Listener]. The report is mistaken only about a listening socket that
// the application hands over by [grace.Manager.PassFile].
type ForeignListener struct {
	Server *http.Server
	Addr   net.Addr
}

// Describe implements [graceevent.Event].
func (e ForeignListener) Describe() (slog.Level, string, []slog.Attr) {
	return foreign.Describe("HTTP", e.Addr)
}

// reportForeign reports a listener that the Manager has not opened. A Manager that drains closes
// its sockets, so nothing is known then.
func reportForeign(m *grace.Manager, srv *http.Server, ln net.Listener) {
	addr := foreign.Addr(ln, m.Status().Sockets)
	if addr != nil && m.Cause() == nil {
		m.Emit(context.Background(), ForeignListener{Server: srv, Addr: addr})
	}
}
