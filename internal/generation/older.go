// Package generation follows the older generations of a service: the parent of a process, and those
// that were draining before the parent began to drain.
//
// The process that serves has a [Set] of them. It hears each of them out, ends one that outlives
// its drain timeout, and tells its [Owner] how each has ended. When it is replaced itself, it stops
// to follow them and passes their links on: its successor goes on where it has stopped.
//
// A generation is signalled only through a descriptor that it has passed on itself or, where there
// is none, as long as it still is the parent of this process: never by a bare number.
package generation

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// Older is an older generation that may still live.
type Older struct {
	graceevent.Process
	Link   wiring.Link
	Watch  wiring.Watched
	Due    time.Time // when it is overdue; set before it is added to a Set
	Legacy bool      // it speaks the protocol of facebookgo/grace

	ended    chan struct{} // closed when the process was seen to be gone
	killing  chan struct{} // has room for whoever sends signals
	signaled atomic.Int64  // the last signal that the process was sent
}

// New returns the state of a generation, which owns its link and its watch.
func New(p graceevent.Process, l wiring.Link, w wiring.Watched) *Older {
	return &Older{
		Process: p, Link: l, Watch: w, ended: make(chan struct{}), killing: make(chan struct{}, 1),
	}
}

// Gone returns a channel that is closed when the process is known to be gone.
func (o *Older) Gone() <-chan struct{} {
	if _, blind := o.Watch.(Unwatched); blind {
		return o.ended
	}
	return o.Watch.Gone()
}

// Lives reports whether the process may still be there.
func (o *Older) Lives() bool { return !wait.IsClosed(o.ended) && !wait.IsClosed(o.Gone()) }

// GoneWithin waits until the process is gone, and reports whether that was in time.
func (o *Older) GoneWithin(ctx context.Context, d time.Duration) bool {
	return wait.Closed(ctx, o.Gone(), d)
}

// handle returns the descriptor of the process; nil where there is none, or the process is gone.
func (o *Older) handle() syscall.Conn {
	if w, ok := o.Watch.(*process.Watched); ok {
		return w.Handle()
	}
	return nil
}

// Close closes the link and ends the watch.
func (o *Older) Close() {
	_ = o.Link.Close()
	o.Watch.Close()
}

// exit describes how the process has ended. last is its report, if it has sent one.
func (o *Older) exit(ctx context.Context, last *handoff.Drained) graceevent.Exit {
	e := graceevent.Exit{Process: o.Process, State: o.Watch.State(ctx), Legacy: o.Legacy}
	if sig := syscall.Signal(o.signaled.Load()); sig != 0 {
		e.Signal = sig
	}
	if last == nil {
		return e
	}
	e.Drained, e.Drain = true, last.Duration
	if last.Error != "" {
		e.Err = errors.New(handoff.Printable(last.Error))
	}
	for _, c := range last.Cut {
		e.Cut = append(e.Cut, graceevent.Cut{
			Socket: handoff.Printable(c.Socket), Connections: c.Connections,
		})
	}
	return e
}
