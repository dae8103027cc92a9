package graceevent

import (
	"log/slog"
	"os"
	"time"
)

// Inherited says that New has made the Manager of this process, and with what it was started.
type Inherited struct {
	Parent  *Process // the process that this one is to succeed; nil in a first generation
	Sockets int      // that the process has inherited
	Files   []string // the names of the files that the parent has passed
	States  []string // the names of the states that the parent has passed
}

// Describe implements [Event].
func (e Inherited) Describe() (slog.Level, string, []slog.Attr) {
	attrs := []slog.Attr{slog.Int("sockets", e.Sockets)}
	if e.Parent != nil {
		attrs = append(attrs,
			slog.Int("parent", e.Parent.PID), slog.Int("parent_generation", e.Parent.Generation))
	}
	attrs = appendNames(attrs, "files", e.Files)
	return slog.LevelDebug, "process started", appendNames(attrs, "states", e.States)
}

// ReadyStarted says that Ready was called.
type ReadyStarted struct{}

// Describe implements [Event].
func (ReadyStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "getting ready", nil
}

// Announced says that this process has told its parent that it is ready.
type Announced struct{}

// Describe implements [Event].
func (Announced) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "ready to take over, waiting for the old process", nil
}

// ReadyFinished says that Ready returns. Without an error the process serves now.
type ReadyFinished struct {
	Duration time.Duration
	Err      error
}

// Describe implements [Event].
func (e ReadyFinished) Describe() (slog.Level, string, []slog.Attr) {
	return outcome(e.Err, "ready", "not ready", e.Duration)
}

// UpgradeStarted says that Upgrade was called.
type UpgradeStarted struct{}

// Describe implements [Event].
func (UpgradeStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "upgrade started", nil
}

// UpgradeFinished says that Upgrade returns. Without an error the successor serves now.
type UpgradeFinished struct {
	Duration  time.Duration
	Successor int // its process id; 0 if none was started
	Err       error
}

// Describe implements [Event].
func (e UpgradeFinished) Describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "upgrade finished", "upgrade failed", e.Duration)
	return level, msg, append(attrs, slog.Int("successor", e.Successor))
}

// CheckStarted says that the function of WithCheck is about to be called.
type CheckStarted struct {
	Executable string
}

// Describe implements [Event].
func (e CheckStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "check of the program started",
		[]slog.Attr{slog.String("executable", e.Executable)}
}

// CheckFinished says that the function of WithCheck has returned, or was left behind at its
// deadline. With an error the program is not started.
type CheckFinished struct {
	Executable string
	Duration   time.Duration
	Err        error
}

// Describe implements [Event].
func (e CheckFinished) Describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "program checked", "program refused", e.Duration)
	return level, msg, append(attrs, slog.String("executable", e.Executable))
}

// SuccessorStarted says that the new process runs.
type SuccessorStarted struct {
	PID        int
	Executable string
	Sockets    int // that it inherits
}

// Describe implements [Event].
func (e SuccessorStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "successor started", []slog.Attr{
		slog.Int("successor", e.PID), slog.String("executable", e.Executable),
		slog.Int("sockets", e.Sockets),
	}
}

// SuccessorReady says that the new process has announced that it can serve.
type SuccessorReady struct {
	PID      int
	Duration time.Duration // since it was started
}

// Describe implements [Event].
func (e SuccessorReady) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "successor ready",
		[]slog.Attr{slog.Int("successor", e.PID), slog.Duration("duration", e.Duration)}
}

// ProbationStarted says that the successor accepts connections beside the old process.
type ProbationStarted struct {
	Timeout time.Duration
}

// Describe implements [Event].
func (e ProbationStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "probation started", []slog.Attr{slog.Duration("timeout", e.Timeout)}
}

// ProbationFinished says that the probation is over. Without an error the handoff is committed:
// next in the old process, and by now in the new one.
type ProbationFinished struct {
	Duration time.Duration
	Err      error
}

// Describe implements [Event].
func (e ProbationFinished) Describe() (slog.Level, string, []slog.Attr) {
	return outcome(e.Err, "probation passed", "probation failed", e.Duration)
}

// Committed says that the handoff is decided: in the new process that it serves from now on, in the
// old one that it has heard so, and accepts nothing more.
type Committed struct{}

// Describe implements [Event].
func (Committed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "handoff committed", nil
}

// StillAccepting says that the old process may yet take a connection or packet after the commit,
// because it has a socket in blocking mode, which cannot be interrupted.
type StillAccepting struct {
	Err error
}

// Describe implements [Event].
func (e StillAccepting) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "this process may still accept after the commit",
		[]slog.Attr{errAttr(e.Err)}
}

// ProbationSkipped says that the successor serves without the probation of WithProbation, because
// it is a program of facebookgo/grace, which knows none.
type ProbationSkipped struct {
	PID int // of the successor
}

// Describe implements [Event].
func (e ProbationSkipped) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "no probation: the successor speaks the protocol of facebookgo/grace",
		[]slog.Attr{slog.Int("successor", e.PID)}
}

// SuccessorSignalled says that a SIGTERM has come from the successor, a program of
// facebookgo/grace: it serves.
type SuccessorSignalled struct {
	PID int
	// Late is set if the upgrade had failed by then.
	Late bool
}

// Describe implements [Event].
func (e SuccessorSignalled) Describe() (slog.Level, string, []slog.Attr) {
	level, msg := slog.LevelInfo, "successor has signalled that it serves"
	if e.Late {
		level, msg = slog.LevelWarn, msg+", after the upgrade has failed"
	}
	return level, msg, []slog.Attr{slog.Int("successor", e.PID)}
}

// ParentDied says that the old process has died before it had committed the handoff: this process
// serves instead.
type ParentDied struct {
	Err error // what this process has noticed of it
}

// Describe implements [Event].
func (e ParentDied) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "the old process has died during the handoff, taking over",
		[]slog.Attr{errAttr(e.Err)}
}

// SupervisorUntold says that a service manager has started this process and will not learn of its
// successor, because there is no PID file: when this process exits after its first upgrade, the
// manager takes that for the end of the service and ends the successor too. It comes at the start
// of the process. Nothing is wrong if the program tells the manager itself.
type SupervisorUntold struct {
	Supervisor string // "systemd"
}

// Describe implements [Event].
func (e SupervisorUntold) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "the first upgrade may be an outage: the service manager does not" +
			" learn of the new process; use WithPIDFile, and PIDFile= in the unit",
		[]slog.Attr{slog.String("supervisor", e.Supervisor)}
}

// GivenBack says that the old process serves after all, because it has waited in vain for the word
// of this one, which shuts down.
type GivenBack struct {
	Err error // the reason that the old process gives
}

// Describe implements [Event].
func (e GivenBack) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "the old process serves after all, shutting down",
		[]slog.Attr{errAttr(e.Err)}
}

// SignalReceived says that Run acts on a signal.
type SignalReceived struct {
	Signal os.Signal
}

// Describe implements [Event].
func (e SignalReceived) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "signal received", []slog.Attr{signalAttr(e.Signal)}
}

// SignalIgnored says that an upgrade signal has no effect, and why.
type SignalIgnored struct {
	Signal os.Signal
	Err    error
}

// Describe implements [Event].
func (e SignalIgnored) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "upgrade signal ignored",
		[]slog.Attr{signalAttr(e.Signal), errAttr(e.Err)}
}

// TerminalClosed says that a SIGHUP has come because the terminal of this process was closed: it is
// not a request for an upgrade, and the process shuts down.
type TerminalClosed struct{}

// Describe implements [Event].
func (TerminalClosed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "the terminal was closed, shutting down", nil
}

// SignalsReleased says that the program has called Ready itself, and not Run: signals have their
// default action again, or reach the channels of the program's own signal.Notify.
type SignalsReleased struct {
	Signals []os.Signal // that were claimed since New
}

// Describe implements [Event].
func (e SignalsReleased) Describe() (slog.Level, string, []slog.Attr) {
	names := make([]string, len(e.Signals))
	for i, sig := range e.Signals {
		names[i] = sig.String()
	}
	return slog.LevelInfo, "signals are left to the program, which calls Ready and not Run",
		[]slog.Attr{slog.Any("signals", names)}
}
