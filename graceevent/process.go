package graceevent

import (
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Socket describes a socket of the service.
type Socket struct {
	Name      string // that the program has given it, or ""
	Network   string // as it was asked for
	Address   string // as it was asked for
	Addr      net.Addr
	Inherited bool // it came from another process
}

// SocketOpened says that a Listen function returns a socket.
type SocketOpened struct {
	Socket
}

// Describe implements [Event].
func (e SocketOpened) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "socket opened", []slog.Attr{
		slog.String("socket", e.Addr.String()), slog.String("network", e.Network),
		slog.String("name", e.Name), slog.Bool("inherited", e.Inherited),
	}
}

// ListenFailed says that a Listen function returns an error, because an address is in use, for
// example. A program mostly exits then, and in a successor the upgrade fails.
type ListenFailed struct {
	Network string // as it was asked for
	Address string // as it was asked for
	Err     error
}

// Describe implements [Event].
func (e ListenFailed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelError, "listen failed", []slog.Attr{
		slog.String("network", e.Network), slog.String("address", e.Address), errAttr(e.Err),
	}
}

// SocketsAbandoned says that a process which began to serve has closed the inherited sockets for
// which its program did not ask.
type SocketsAbandoned struct {
	Sockets []string
}

// Describe implements [Event].
func (e SocketsAbandoned) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "inherited sockets closed because nobody asked for them",
		[]slog.Attr{slog.Any("sockets", e.Sockets)}
}

// InheritedAbandoned says that a process which began to serve has closed the inherited files, and
// dropped the inherited states, for which its program did not ask.
type InheritedAbandoned struct {
	Files  []string // the names given to Manager.PassFile
	States []string // the names given to Manager.PassState
}

// Describe implements [Event].
func (e InheritedAbandoned) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "inherited files and states dropped because nobody asked for them",
		appendNames(appendNames(nil, "files", e.Files), "states", e.States)
}

// PathIgnored says that successors execute the path of the executed file, and not the one by which
// the process was started: a symbolic link in that is not followed again.
type PathIgnored struct {
	Path       string // by which the process was started
	Executable string // that successors execute
	Err        error  // why
}

// Describe implements [Event].
func (e PathIgnored) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "the path by which this process was started does not count in upgrades; " +
			"WithExecutable sets one that does", []slog.Attr{
			slog.String("path", e.Path), slog.String("executable", e.Executable), errAttr(e.Err),
		}
}

// AnnouncementIgnored says that a process which was started with more rights than its parent has,
// as by a set-user-ID file or file capabilities, does not take the sockets that its environment
// announces (LISTEN_FDS, GRACE_LINK).
type AnnouncementIgnored struct{}

// Describe implements [Event].
func (AnnouncementIgnored) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "passed sockets are not taken: this process was started with more rights " +
		"than its parent has", nil
}

// HookStarted says that a function of a hook begins to run.
type HookStarted struct {
	Hook string // which one, such as "OnReady"; "PassState" is the function of a state
	Name string // of the hook, or of the state
}

// Describe implements [Event].
func (e HookStarted) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelDebug, "hook started",
		[]slog.Attr{slog.String("hook", e.Hook), slog.String("name", e.Name)}
}

// HookFinished says that a function of a hook has returned, or was left behind at its deadline.
type HookFinished struct {
	Hook     string
	Name     string
	Duration time.Duration
	Err      error
}

// Describe implements [Event].
func (e HookFinished) Describe() (slog.Level, string, []slog.Attr) {
	level, msg, attrs := outcome(e.Err, "hook finished", "hook failed", e.Duration)
	if e.Err == nil {
		level = slog.LevelDebug
	}
	return level, msg, append(attrs, slog.String("hook", e.Hook), slog.String("name", e.Name))
}

// ObserverFailed says that an observer has panicked, or called [runtime.Goexit]. The other
// observers are told; if there are none, it is printed to the standard error.
type ObserverFailed struct {
	Event Event // of which the observer was told
	Err   error
}

// Describe implements [Event].
func (e ObserverFailed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelError, "an observer has failed",
		[]slog.Attr{slog.String("event", fmt.Sprintf("%T", e.Event)), errAttr(e.Err)}
}

// TransferHandlerFailed says that a function of Manager.HandleTransfers has panicked, or called
// [runtime.Goexit]. Its connection was closed.
type TransferHandlerFailed struct {
	Name string // of the function
	Err  error
}

// Describe implements [Event].
func (e TransferHandlerFailed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelError, "the handler of a transferred connection has failed",
		[]slog.Attr{slog.String("name", e.Name), errAttr(e.Err)}
}

// PartFailed says that a function of Manager.Go has returned an error: the service cannot go on in
// this process.
type PartFailed struct {
	Err error
}

// Describe implements [Event].
func (e PartFailed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelError, "a part of the service has failed", []slog.Attr{errAttr(e.Err)}
}

// PIDFileFailed says that the file of WithPIDFile does not name the process that serves.
type PIDFileFailed struct {
	Err error
}

// Describe implements [Event].
func (e PIDFileFailed) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelError, "the PID file does not name the process that serves",
		[]slog.Attr{errAttr(e.Err)}
}

// PathRebound says that somebody had removed the path of an inherited unix socket, so that no
// client found it, and that a new socket is bound to the path.
type PathRebound struct {
	Path string
	Err  error // what was found
}

// Describe implements [Event].
func (e PathRebound) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelWarn, "the path of a unix socket was lost, and is bound again",
		[]slog.Attr{slog.String("path", e.Path), errAttr(e.Err)}
}

// PathLost says that clients will not find a unix socket: its path was removed, or is another
// process's, and could not be bound again; or it is removed by an old process of facebookgo/grace
// and could not be kept, or not be restored.
type PathLost struct {
	Path string
	Err  error
}

// Describe implements [Event].
func (e PathLost) Describe() (slog.Level, string, []slog.Attr) {
	return slog.LevelError, "the path of a unix socket is lost",
		[]slog.Attr{slog.String("path", e.Path), errAttr(e.Err)}
}
