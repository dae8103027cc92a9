package gracehttp

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-grace/grace/graceevent"
)

var (
	_ graceevent.Event = DrainReport{}
	_ graceevent.Event = IdleHandoverOff{}
	_ graceevent.Event = ForeignListener{}
	_ graceevent.Event = HijackedHTTP2{}
)

// DrainReport is a [graceevent.Event]. It says how the drain of a server went.
//
// It is the one record of what became of the connections of the server. The Manager counts, in
// [graceevent.DrainFinished], only connections that are still open after that, such as a hijacked
// one whose end the server cannot see (see the package documentation).
type DrainReport struct {
	Server   *http.Server
	Addrs    []net.Addr // of its listeners
	Duration time.Duration
	// Requests counts the handlers that have returned since the drain began.
	Requests int
	// Closed counts the connections that have ended since then, closed by their clients or politely
	// by the server. It includes hijacked connections and those that never had a request.
	Closed int
	// Transferred counts the connections that the successor has taken.
	Transferred int
	// Cut counts the connections that were open at the end of the drain timeout, hijacked ones
	// included. The server has closed them.
	Cut int
}

// Describe implements [graceevent.Event].
func (r DrainReport) Describe() (slog.Level, string, []slog.Attr) {
	level, message := slog.LevelInfo, "HTTP server drained"
	if r.Cut > 0 {
		level, message = slog.LevelWarn, "HTTP server drained, connections cut"
	}
	return level, message, []slog.Attr{
		graceevent.AddrsAttr(r.Addrs),
		slog.Duration("duration", r.Duration),
		slog.Int("requests", r.Requests),
		slog.Int("transferred", r.Transferred),
		slog.Int("closed", r.Closed),
		slog.Int("cut", r.Cut),
	}
}

// IdleHandoverOff is a [graceevent.Event]. It says that a server does not hand over idle
// connections in spite of [WithIdleHandover], because the net/http of this program does not work in
// the way that the option relies on. The server closes idle connections politely.
type IdleHandoverOff struct {
	Server *http.Server
	Err    error // the difference
}

// Describe implements [graceevent.Event].
func (e IdleHandoverOff) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "idle HTTP connections will not be handed over",
		[]slog.Attr{slog.String("error", e.Err.Error())}
}

// HijackedHTTP2 is a [graceevent.Event]. It warns, once for each server, that a handler serves
// HTTP/2 on a connection that it has hijacked, as h2c.NewHandler of golang.org/x/net does. Nobody
// tells the clients of such a connection of the drain, so their requests are lost at its end. Set
// UnencryptedHTTP2 in [http.Server.Protocols] instead.
type HijackedHTTP2 struct {
	Server *http.Server
}

// Describe implements [graceevent.Event].
func (e HijackedHTTP2) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "a handler serves HTTP/2 on a hijacked connection, whose clients are not " +
		"told of a drain and will lose requests; set UnencryptedHTTP2 in http.Server.Protocols " +
		"instead of using h2c.NewHandler", nil
}
