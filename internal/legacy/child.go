package legacy

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// ErrServes ends the wait for a successor's Ready: it has said in another way that it serves.
var ErrServes = errors.New("the successor speaks the protocol of facebookgo/grace, and serves")

// Child finds out whether a successor is a program of facebookgo/grace.
//
// Such a program takes the sockets, but neither finds its link nor reads it. When it serves it
// sends SIGTERM to its parent, which is also how an operator ends the service. Package os/signal
// does not tell who has sent a signal; so what the successor has done decides: it has done what
// none of ours can, if it has taken sockets before it has read Hello.
type Child struct {
	pid    int
	passed int // how many sockets
	link   wiring.Link

	launched  chan struct{} // closed when the fields above are set, or never will be
	awaited   atomic.Bool   // between Await and Dismiss
	signalled atomic.Bool
}

// NewChild returns the state of a successor that is not started yet.
func NewChild() *Child {
	return &Child{launched: make(chan struct{})}
}

// Await says that the successor is about to be started. Launched must follow.
func (c *Child) Await() { c.awaited.Store(true) }

// Launched says which process the successor is, and how many sockets it was passed; pid 0 is none.
func (c *Child) Launched(pid, passed int, l wiring.Link) {
	c.pid, c.passed, c.link = pid, passed, l
	close(c.launched)
}

// Dismiss says that no signal is the successor's from now on: it speaks our protocol, or the
// upgrade is over.
func (c *Child) Dismiss() { c.awaited.Store(false) }

// HasSignalled reports whether a signal is the successor's word that it serves. It counts once: the
// next signal is for this process. sockets returns those that are open here.
//
// The signals of a process come one after another, so this does not wait for a start that takes
// long.
func (c *Child) HasSignalled(sig os.Signal, sockets func() []*fds.Socket) bool {
	if sig != syscall.SIGTERM || !c.awaited.Load() {
		return false
	}
	return c.wasLaunched(context.Background()) && c.isLegacy(sockets) && !c.signalled.Swap(true)
}

// MaySignal reports whether the successor may be about to send its word, or has just done so.
func (c *Child) MaySignal(ctx context.Context, sockets func() []*fds.Socket) bool {
	return c.awaited.Load() && c.wasLaunched(ctx) && c.isLegacy(sockets)
}

// isLegacy reports whether the successor has done what none of ours can; it was launched, or not.
func (c *Child) isLegacy(sockets func() []*fds.Socket) bool {
	return c.pid != 0 && c.hasTaken(sockets()) && !c.link.IsRead()
}

// launchPatience is how long this process may take to notice that the successor runs. A successor
// takes longer to serve.
const launchPatience = 250 * time.Millisecond

// wasLaunched waits for the end of a start that does not take long.
func (c *Child) wasLaunched(ctx context.Context) bool {
	return wait.Closed(ctx, c.launched, launchPatience)
}

// hasTaken reports whether the successor has one of our sockets at a number other than those at
// which it was passed: package net makes a duplicate of what it takes. Having none any longer is
// not enough: so it is after New has failed.
func (c *Child) hasTaken(sockets []*fds.Socket) bool {
	theirs, err := process.Descriptors(c.pid)
	if err != nil {
		return false // no process is ended or left behind by mistake: SIGTERM is what it always is
	}
	ours := names(sockets)
	for fd, what := range theirs {
		if passed := fd >= fds.First && fd < fds.First+c.passed; !passed && ours[what] {
			return true
		}
	}
	return false
}

// names tells the open sockets from all others, also in another process.
func names(sockets []*fds.Socket) map[string]bool {
	names := make(map[string]bool)
	for _, sock := range sockets {
		if raw, err := sock.Conn().SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { names[process.SocketName(fd)] = true })
		}
	}
	delete(names, "")
	return names
}
