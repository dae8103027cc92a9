package gracegrpc

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/foreign"
)

var (
	_ graceevent.Event = DrainReport{}
	_ graceevent.Event = ForeignListener{}
)

// DrainReport is a [graceevent.Event]. It says how the drain of a server went. RPCs are not
// counted: grpc-go tells of them only by options of [grpc.NewServer], at a price for each.
type DrainReport struct {
	Server   *grpc.Server
	Addrs    []net.Addr    // of its listeners
	Duration time.Duration // until no RPC was left, or the rest was cut
	// Cut is set if RPCs were in progress at the end of the drain timeout, or a client had not
	// finished its handshake. The Manager counts the connections that even [grpc.Server.Stop] has
	// not closed, in [graceevent.DrainFinished].
	Cut bool
}

// Describe implements [graceevent.Event].
func (r DrainReport) Describe() (slog.Level, string, []slog.Attr) {
	level, message := slog.LevelInfo, "gRPC server drained"
	if r.Cut {
		level, message = slog.LevelWarn, "gRPC server drained, RPCs cut"
	}
	return level, message, []slog.Attr{
		graceevent.AddrsAttr(r.Addrs),
		slog.Duration("duration", r.Duration),
		slog.Bool("cut", r.Cut),
	}
}

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
	Server *grpc.Server
	Addr   net.Addr
}

// Describe implements [graceevent.Event].
func (e ForeignListener) Describe() (slog.Level, string, []slog.Attr) {
	return foreign.Describe("gRPC", e.Addr)
}

// reportForeign reports a listener that the Manager has not opened. A Manager that drains closes
// its sockets, so nothing is known then.
func reportForeign(m *grace.Manager, srv *grpc.Server, ln net.Listener) {
	addr := foreign.Addr(ln, m.Status().Sockets)
	if addr != nil && m.Cause() == nil {
		m.Emit(context.Background(), ForeignListener{Server: srv, Addr: addr})
	}
}
