package gracehttp

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// DrainReport says how the drain of a server went. Observers of the Manager receive it as the
// Report of a [grace.Reported] event, and the logger of the Manager logs it.
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
	// Cut counts the connections that were open at the end of the drain. It includes hijacked
	// connections, which end with the process.
	Cut int
}

// Describe implements [grace.Report].
func (r DrainReport) Describe() (slog.Level, string, []slog.Attr) {
	level, message := slog.LevelInfo, "HTTP server drained"
	if r.Cut > 0 {
		level, message = slog.LevelWarn, "HTTP server drained, connections cut"
	}
	return level, message, []slog.Attr{
		slog.String("addresses", r.addrs()),
		slog.Duration("duration", r.Duration),
		slog.Int("requests", r.Requests),
		slog.Int("transferred", r.Transferred),
		slog.Int("closed", r.Closed),
		slog.Int("cut", r.Cut),
	}
}

func (r DrainReport) addrs() string {
	all := make([]string, len(r.Addrs))
	for i, a := range r.Addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}

// IdleHandoverOff says that a server does not hand over idle connections in spite of
// [WithIdleHandover], because the net/http of this program does not work in the way that the option
// relies on. The server closes idle connections politely. Observers receive the event as the Report
// of a [grace.Reported] event.
type IdleHandoverOff struct {
	Server *http.Server
	Err    error // the difference
}

// Describe implements [grace.Report].
func (r IdleHandoverOff) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "idle HTTP connections will not be handed over",
		[]slog.Attr{slog.String("error", r.Err.Error())}
}
