package grace

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// Observer is told of everything that happens in a handoff. Observe is called by several goroutines, and should return soon.
type Observer interface {
	Observe(Record)
}

// ObserverFunc is a function as an [Observer].
type ObserverFunc func(Record)

// Observe calls f.
func (f ObserverFunc) Observe(r Record) { f(r) }

// Role is what a process does in the life of its service.
type Role string

// The roles. A first generation, which has no predecessor, has the role serving from its start.
const (
	RoleSuccessor Role = "successor" // is starting; its predecessor serves
	RoleServing   Role = "serving"
	RoleDraining  Role = "draining" // stops, with or without a successor
)

// Record is an event, with when and where it happened.
type Record struct {
	Time       time.Time
	Generation int    // of this process; the first is 1
	PID        int    // of this process
	Role       Role   // of this process
	Handoff    string // the same in both processes of one handoff; "" before the first
	Event      Event
}

// Event is one of the event structs of this package, for a type switch. Those named ...Started are followed by one named
// ...Finished.
type Event interface {
	// describe is how the event is logged. Having it here, no event can be forgotten.
	describe() (slog.Level, string, []slog.Attr)
}

// SocketOpened says that a Listen function has a socket.
type SocketOpened struct {
	Socket
}

// SocketsAbandoned says that a process which began to serve has closed inherited sockets for which its program did not ask.
type SocketsAbandoned struct {
	Sockets []string
}

// PassedAbandoned says that a process which began to serve has closed files, and dropped states, for which its program did
// not ask.
type PassedAbandoned struct {
	Files  []string // the names of [Manager.Pass]
	States []string // the names of [Manager.PassState]
}

// ReadyStarted says that Ready was called.
type ReadyStarted struct{}

// ReadyFinished says that Ready returns. Without an error, the process serves now.
type ReadyFinished struct {
	Duration time.Duration
	Err      error
}

// UpgradeStarted says that Upgrade was called.
type UpgradeStarted struct{}

// UpgradeFinished says that Upgrade returns. Without an error, the successor serves now.
type UpgradeFinished struct {
	Duration  time.Duration
	Successor int // its process id; 0 if none was started
	Err       error
}

// CheckStarted says that the function of [WithCheck] is about to be called.
type CheckStarted struct {
	Executable string
}

// CheckFinished says that the function of [WithCheck] has returned, or was left behind at its deadline. With an error, the
// program is not started.
type CheckFinished struct {
	Executable string
	Duration   time.Duration
	Err        error
}

// SuccessorStarted says that the new process runs.
type SuccessorStarted struct {
	PID        int
	Executable string
	Sockets    int // how many were passed
}

// HookStarted says that a hook begins to run.
type HookStarted struct {
	Hook string // such as "OnReady"; "PassState" is the function of a state
	Name string // of the [Hook] it belongs to, or of the state
}

// HookFinished says that a hook has returned, or was left behind at its deadline.
type HookFinished struct {
	Hook     string
	Name     string
	Duration time.Duration
	Err      error
}

// DrainStarted says that the process accepts no more.
type DrainStarted struct {
	Upgraded bool // a successor serves; false: the service stops
	Timeout  time.Duration
}

// DrainFinished says that the process has finished its work and can exit.
type DrainFinished struct {
	Duration time.Duration
	Cut      []Cut // connections that are still open, and end with the process
	// Transferred counts the connections that the successor has taken, see [Manager.Transfer].
	Transferred int
	Err         error
}

// ProbationStarted says that the successor accepts connections beside the old process.
type ProbationStarted struct {
	Timeout time.Duration
}

// ProbationFinished says that the probation is over. Without an error, the handoff is committed: next in the old process, and
// by now in the new one.
type ProbationFinished struct {
	Duration time.Duration
	Err      error
}

// ParentExited says that the old process is gone.
type ParentExited struct {
	Exit
}

// AncestorExited says that a generation older than the parent is gone.
type AncestorExited struct {
	Exit
}

// AncestorSignalled says that an older generation, which may be the parent, was sent a signal, since it did not leave, or since
// it speaks the protocol of facebookgo/grace and has to learn that this process serves.
type AncestorSignalled struct {
	Process
	Signal os.Signal
}

// SuccessorSignalled says that a SIGTERM has come from the successor, a program of facebookgo/grace, which serves.
type SuccessorSignalled struct {
	PID int
}

// SignalReceived says that Run acts on a signal.
type SignalReceived struct {
	Signal os.Signal
}

// Reported says what a package that builds on this one has reported: see [Manager.Report]. Its documentation says what types the
// Report can have, for a type switch. (Events themselves are closed: an observer can know them all.)
type Reported struct {
	Report
}

// Report is what a package that builds on this one tells the observers, such as gracehttp of its drain.
type Report interface {
	// Describe is how it is logged.
	Describe() (level slog.Level, message string, attrs []slog.Attr)
}

// Warned says that something is not as it should be, though the process goes on.
type Warned struct {
	Err error
}

func (e SocketOpened) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "socket opened", []slog.Attr{
		slog.String("socket", e.Addr.String()), slog.String("network", e.Network), slog.String("name", e.Name), slog.Bool("inherited", e.Inherited),
	}
}

func (e SocketsAbandoned) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "inherited sockets closed that nobody asked for", []slog.Attr{slog.Any("sockets", e.Sockets)}
}

func (e PassedAbandoned) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "inherited files and states dropped that nobody asked for", []slog.Attr{slog.Any("files", e.Files), slog.Any("states", e.States)}
}

func (ReadyStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "getting ready", nil
}

func (e ReadyFinished) describe() (slog.Level, string, []slog.Attr) {
	return outcome(e.Err, "ready", "not ready", e.Duration)
}

func (UpgradeStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "upgrade started", nil
}

func (e UpgradeFinished) describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "upgrade finished", "upgrade failed", e.Duration)
	return level, msg, append(attrs, slog.Int("successor", e.Successor))
}

func (e CheckStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "check of the program started", []slog.Attr{slog.String("executable", e.Executable)}
}

func (e CheckFinished) describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "program checked", "program refused", e.Duration)
	return level, msg, append(attrs, slog.String("executable", e.Executable))
}

func (e SuccessorStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "successor started", []slog.Attr{
		slog.Int("successor", e.PID), slog.String("executable", e.Executable), slog.Int("sockets", e.Sockets),
	}
}

func (e HookStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "hook started", []slog.Attr{slog.String("hook", e.Hook), slog.String("name", e.Name)}
}

func (e HookFinished) describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "hook finished", "hook failed", e.Duration)
	if e.Err == nil {
		level = slog.LevelDebug
	}
	return level, msg, append(attrs, slog.String("hook", e.Hook), slog.String("name", e.Name))
}

func (e DrainStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "drain started", []slog.Attr{slog.Bool("upgraded", e.Upgraded), slog.Duration("timeout", e.Timeout)}
}

func (e DrainFinished) describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "drain finished", "drain finished with errors", e.Duration)
	if e.Transferred > 0 {
		attrs = append(attrs, slog.Int("transferred", e.Transferred))
	}
	if len(e.Cut) > 0 {
		level, attrs = max(level, slog.LevelWarn), append(attrs, cutAttr(e.Cut))
	}
	return level, msg, attrs
}

func (e ProbationStarted) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "probation started", []slog.Attr{slog.Duration("timeout", e.Timeout)}
}

func (e ProbationFinished) describe() (slog.Level, string, []slog.Attr) {
	return outcome(e.Err, "probation passed", "probation failed", e.Duration)
}

func (e ParentExited) describe() (slog.Level, string, []slog.Attr) {
	return e.describeAs("parent")
}

func (e AncestorExited) describe() (slog.Level, string, []slog.Attr) {
	return e.describeAs("ancestor")
}

func (e Exit) describeAs(who string) (slog.Level, string, []slog.Attr) {
	attrs := []slog.Attr{slog.Int(who, e.PID), slog.Int(who+"_generation", e.Generation)}
	if e.State != "" {
		attrs = append(attrs, slog.String("state", e.State))
	}
	if e.Signal != nil {
		attrs = append(attrs, slog.String("signal", e.Signal.String()))
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
		level, attrs = slog.LevelWarn, append(attrs, cutAttr(e.Cut))
	}
	if e.Err != nil {
		level, msg, attrs = slog.LevelWarn, msg+", its drain had errors", append(attrs, errAttr(e.Err))
	}
	return level, msg, attrs
}

func (e AncestorSignalled) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "older generation signalled", []slog.Attr{
		slog.Int("process", e.PID), slog.Int("process_generation", e.Generation), slog.String("signal", e.Signal.String()),
	}
}

func (e SuccessorSignalled) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "successor has signalled that it serves", []slog.Attr{slog.Int("successor", e.PID)}
}

// cutAttr counts connections by listener.
func cutAttr(cut []Cut) slog.Attr {
	attrs := make([]any, len(cut))
	for i, c := range cut {
		attrs[i] = slog.Int(c.Socket, c.Connections)
	}
	return slog.Group("cut", attrs...)
}

func (e SignalReceived) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelInfo, "signal received", []slog.Attr{slog.String("signal", e.Signal.String())}
}

func (e Reported) describe() (slog.Level, string, []slog.Attr) { return e.Describe() }

func (e Warned) describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, e.Err.Error(), nil
}

// outcome describes the end of something that took a while.
func outcome(err error, good, bad string, took time.Duration) (slog.Level, string, []slog.Attr) {
	attrs := []slog.Attr{slog.Duration("duration", took)}
	if err != nil {
		return slog.LevelError, bad, append(attrs, errAttr(err))
	}
	return slog.LevelInfo, good, attrs
}

func errAttr(err error) slog.Attr { return slog.String("error", err.Error()) }

// logObserver writes records to a logger.
type logObserver struct{ log *slog.Logger }

func (o logObserver) Observe(r Record) {
	level, msg, attrs := r.Event.describe()
	if !o.log.Enabled(context.Background(), level) {
		return
	}
	attrs = append(attrs, slog.Int("generation", r.Generation), slog.Int("pid", r.PID), slog.String("role", string(r.Role)), slog.String("handoff", r.Handoff))
	o.log.LogAttrs(context.Background(), level, msg, attrs...)
}
