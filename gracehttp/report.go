package gracehttp

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// DrainReport says how the drain of a server went. Observers of the Manager get it as the Report of a [grace.Reported], and its
// logger logs it.
type DrainReport struct {
	Server      *http.Server
	Addrs       []net.Addr // of its listeners
	Duration    time.Duration
	Requests    int // whose handlers have returned since the drain began
	Closed      int // connections that have ended since then, by their clients or politely by us; also hijacked ones, and those without a request
	Transferred int // connections that the successor has taken
	Cut         int // connections that were open at the end of the drain; hijacked ones included, which end with the process
}

// Describe implements [grace.Report].
func (r DrainReport) Describe() (slog.Level, string, []slog.Attr) {
	level, message := slog.LevelInfo, "HTTP server drained"
	if r.Cut > 0 {
		level, message = slog.LevelWarn, "HTTP server drained, not to its end"
	}
	return level, message, []slog.Attr{
		slog.String("addresses", r.addrs()), slog.Duration("duration", r.Duration),
		slog.Int("requests", r.Requests), slog.Int("transferred", r.Transferred), slog.Int("closed", r.Closed), slog.Int("cut", r.Cut),
	}
}

// IdleHandoverOff says that a server does not hand over idle connections in spite of [WithIdleHandover]: the net/http of this program
// works in another way than that knows. It drains politely. Observers get it as the Report of a [grace.Reported].
type IdleHandoverOff struct {
	Server *http.Server
	Err    error // what is different
}

// Describe implements [grace.Report].
func (r IdleHandoverOff) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "idle HTTP connections will not be handed over", []slog.Attr{slog.String("error", r.Err.Error())}
}

func (r DrainReport) addrs() string {
	all := make([]string, len(r.Addrs))
	for i, a := range r.Addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}
