// Package graceevent holds what a grace.Manager tells its observers: typed events, with the time
// and the process in which they happened, and their form in structured logs.
//
// An observer is given to grace.New by grace.WithObserver; grace.WithLogger is an observer that
// writes every event to a [slog.Logger]. An observer that wants to know more than the log says uses
// a type switch:
//
//	func (o *metrics) Observe(ctx context.Context, r graceevent.Record) {
//		switch e := r.Event.(type) {
//		case graceevent.UpgradeFinished:
//			o.upgrades.Observe(e.Duration, e.Err)
//		case graceevent.DrainFinished:
//			o.cut.Add(e.CutConnections())
//		}
//	}
//
// # The course of an upgrade
//
// In the old process, and in the new one beside it:
//
//	UpgradeStarted
//	HookStarted, HookFinished (OnUpgrade)
//	CheckStarted, CheckFinished
//	HookStarted, HookFinished (PassState)
//	SuccessorStarted                        Inherited
//	                                        SocketOpened, ListenFailed ...
//	                                        ReadyStarted
//	                                        HookStarted, HookFinished (OnReady)
//	SuccessorReady                          Announced
//	ProbationStarted, ProbationFinished     ProbationStarted, ProbationFinished
//	                                        Committed
//	Committed                               ReadyFinished
//	UpgradeFinished
//	DrainStarted
//	HookStarted, HookFinished (OnDrain)
//	DrainFinished                           ParentExited
//
// Packages that build on grace add events of their own, such as gracehttp.DrainReport.
package graceevent

import (
	"context"
	"log/slog"
	"time"
)

// Event is something that has happened: one of the structs of this package, or of a package that
// builds on grace. An event named ...Started is followed by the one named ...Finished;
// [SuccessorStarted] by [SuccessorReady].
type Event interface {
	// Describe returns how the event is logged.
	Describe() (level slog.Level, message string, attrs []slog.Attr)
}

// Observer is told of every event. Observe is called by several goroutines at once, in the course
// of what it is told of, which waits for it: it should return soon. A panic in it is an
// [ObserverFailed], and fails nothing else.
//
// The context is that of the call that led to the event, such as Upgrade(ctx) or Ready(ctx), so
// that its values, a trace for example, reach the observer. It may have ended.
type Observer interface {
	Observe(ctx context.Context, r Record)
}

// ObserverFunc is a function as an [Observer].
type ObserverFunc func(ctx context.Context, r Record)

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, r Record) { f(ctx, r) }

// Record is an event with the time and the process in which it happened.
type Record struct {
	Time       time.Time
	Generation int    // of this process; the first is 1
	PID        int    // of this process
	Role       Role   // of this process
	Handoff    string // the same in both processes of one handoff; "" before the first
	Event      Event
}

// Role is what a process does in the life of its service.
type Role string

// The roles. A first generation, which has no predecessor, has the role serving from its start.
const (
	RoleSuccessor Role = "successor" // is starting; its predecessor serves
	RoleServing   Role = "serving"
	RoleDraining  Role = "draining" // stops, with or without a successor
)

// Process names a generation of the service.
type Process struct {
	PID        int
	Generation int
}
