package gracegrpc

import (
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// DrainReport says how the drain of a server went. Observers of the Manager get it as the Report of a [grace.Reported], and its
// logger logs it. RPCs are not counted: grpc-go tells of them only by options of [grpc.NewServer], at a price for each.
type DrainReport struct {
	Server   *grpc.Server
	Addrs    []net.Addr // of its listeners
	Duration time.Duration
	Cut      bool // RPCs were in progress at the deadline
}

// Describe implements [grace.Report].
func (r DrainReport) Describe() (slog.Level, string, []slog.Attr) {
	level, message := slog.LevelInfo, "gRPC server drained"
	if r.Cut {
		level, message = slog.LevelWarn, "gRPC server drained, not to its end"
	}
	return level, message, []slog.Attr{
		slog.String("addresses", r.addrs()), slog.Duration("duration", r.Duration), slog.Bool("cut", r.Cut),
	}
}

func (r DrainReport) addrs() string {
	all := make([]string, len(r.Addrs))
	for i, a := range r.Addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}
