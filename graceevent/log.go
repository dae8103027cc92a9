package graceevent

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"
)

// Logger returns an observer that writes every event to the logger, with the generation, the pid
// and the role of the process and the id of the handoff. The logger's handler gets the context of
// the call that led to the event.
func Logger(l *slog.Logger) Observer { return logObserver{l} }

type logObserver struct{ log *slog.Logger }

func (o logObserver) Observe(ctx context.Context, r Record) {
	level, msg, attrs := r.Event.Describe()
	if !o.log.Enabled(ctx, level) {
		return
	}
	attrs = append(attrs, slog.Int("generation", r.Generation), slog.Int("pid", r.PID),
		slog.String("role", string(r.Role)), slog.String("handoff", r.Handoff))
	o.log.LogAttrs(ctx, level, msg, attrs...)
}

// outcome describes the end of something that took a while.
func outcome(err error, good, bad string, took time.Duration) (slog.Level, string, []slog.Attr) {
	attrs := []slog.Attr{slog.Duration("duration", took)}
	if err != nil {
		return slog.LevelError, bad, append(attrs, errAttr(err))
	}
	return slog.LevelInfo, good, attrs
}

// AddrsAttr returns the attribute "addresses" of an event about listeners.
func AddrsAttr(addrs []net.Addr) slog.Attr {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return slog.Any("addresses", all)
}

func errAttr(err error) slog.Attr { return slog.String("error", err.Error()) }

func signalAttr(sig os.Signal) slog.Attr { return slog.String("signal", sig.String()) }

func processAttrs(p Process) []slog.Attr {
	return []slog.Attr{slog.Int("process", p.PID), slog.Int("process_generation", p.Generation)}
}

// appendNames appends a list, unless it is empty.
func appendNames(attrs []slog.Attr, key string, names []string) []slog.Attr {
	if len(names) == 0 {
		return attrs
	}
	return append(attrs, slog.Any(key, names))
}
