package graceevent

import (
	"fmt"
	"log/slog"
	"os"
	"time"
)

// StopDelayed says that the service is about to stop: it goes on for the delay of WithStopDelay,
// while gracehttp.Readiness says no.
type StopDelayed struct {
	Delay time.Duration
}

// Describe implements [Event].
func (e StopDelayed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "stopping after a delay", []slog.Attr{slog.Duration("delay", e.Delay)}
}

// DrainStarted says that the process begins to finish its work.
type DrainStarted struct {
	Upgraded bool // a successor serves; false: the service stops
	Timeout  time.Duration
}

// Describe implements [Event].
func (e DrainStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "drain started",
		[]slog.Attr{slog.Bool("upgraded", e.Upgraded), slog.Duration("timeout", e.Timeout)}
}

// DrainFinished says that the process has finished its work and can exit.
type DrainFinished struct {
	Duration time.Duration
	// Cut counts the connections that are still open, by listener. They end with the process.
	Cut []Cut
	// Transferred counts the connections that the successor has taken, see Manager.Transfer.
	Transferred int
	Err         error // of hooks and of functions of Manager.Go
}

// Describe implements [Event].
func (e DrainFinished) Describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "drain finished", "drain finished with errors", e.Duration)
	if e.Transferred > 0 {
		attrs = append(attrs, slog.Int("transferred", e.Transferred))
	}
	if len(e.Cut) > 0 {
		level, attrs = max(level, slog.LevelWarn), appendCut(attrs, e.Cut)
	}
	return level, msg, attrs
}

// CutConnections returns how many connections were cut, through all listeners.
func (e DrainFinished) CutConnections() int { return sum(e.Cut) }

// Cut counts connections that were still open when a process had drained.
type Cut struct {
	Socket      string // network, address and name of the listener that has accepted them
	Connections int
}

// String returns the count and the listener, as they are logged.
func (c Cut) String() string { return fmt.Sprintf("%d of %s", c.Connections, c.Socket) }

// Exit says how an older generation has ended.
type Exit struct {
	Process
	// Legacy is set if the process speaks the protocol of facebookgo/grace, which has no reports.
	Legacy bool
	// State is how the process ended, in the words of [os.ProcessState]: "exit status 0", "signal:
	// killed". It is "" where the system does not tell, which Linux does since 6.15.
	State string
	// Drained is set if the process reported the end of its drain. Otherwise it crashed, or was
	// killed.
	Drained bool
	// Drain is how long the drain took.
	Drain time.Duration
	// Cut counts the connections that ended with the process, by listener.
	Cut []Cut
	// Err has the text of the errors of the OnDrain hooks; nil if there was none.
	Err error
	// Signal is the last signal that this process has sent it; nil if it left by itself.
	Signal os.Signal
}

// ParentExited says that the old process is gone.
type ParentExited struct {
	Exit
}

// Describe implements [Event].
func (e ParentExited) Describe() (slog.Level, string, []slog.Attr) {
	return e.describe("parent")
}

// AncestorExited says that a generation older than the parent is gone.
type AncestorExited struct {
	Exit
}

// Describe implements [Event].
func (e AncestorExited) Describe() (slog.Level, string, []slog.Attr) {
	return e.describe("ancestor")
}

func (e Exit) describe(who string) (slog.Level, string, []slog.Attr) {
	attrs := []slog.Attr{slog.Int(who, e.PID), slog.Int(who+"_generation", e.Generation)}
	if e.State != "" {
		attrs = append(attrs, slog.String("state", e.State))
	}
	if e.Signal != nil {
		attrs = append(attrs, signalAttr(e.Signal))
	}
	if e.Legacy {
		return slog.LevelInfo, who + " exited", attrs
	}
	if !e.Drained {
		return slog.LevelWarn, who + " exited without finishing its drain", attrs
	}
	attrs = append(attrs, slog.Duration("drain", e.Drain))
	level, msg := slog.LevelInfo, who+" exited"
	if len(e.Cut) > 0 {
		level, attrs = slog.LevelWarn, appendCut(attrs, e.Cut)
	}
	if e.Err != nil {
		level, msg = slog.LevelWarn, msg+", its drain had errors"
		attrs = append(attrs, errAttr(e.Err))
	}
	return level, msg, attrs
}

// AncestorSignalled says that an older generation, which may be the parent, was sent a signal:
// because it did not leave, or because it speaks the protocol of facebookgo/grace and has to learn
// that this process serves.
type AncestorSignalled struct {
	Process
	Signal os.Signal
}

// Describe implements [Event].
func (e AncestorSignalled) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "older generation signalled",
		append(processAttrs(e.Process), signalAttr(e.Signal))
}

// AncestorStays says that an older generation, which may be the parent, should have left and could
// not be ended: a hook objects, for example, or it cannot be signalled.
type AncestorStays struct {
	Process
	Err error
}

// Describe implements [Event].
func (e AncestorStays) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "older generation stays", append(processAttrs(e.Process), errAttr(e.Err))
}

func appendCut(attrs []slog.Attr, cut []Cut) []slog.Attr {
	listed := make([]string, len(cut))
	for i, c := range cut {
		listed[i] = c.String()
	}
	return append(attrs, slog.Int("cut", sum(cut)), slog.Any("cut_by_listener", listed))
}

func sum(cut []Cut) (n int) {
	for _, c := range cut {
		n += c.Connections
	}
	return n
}
