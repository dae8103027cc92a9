// Package wiring is where a process meets the other generations of its service: how it finds the
// link to the old process, starts a successor, and makes links for transfers. [Processes] is the
// wiring of every program; tests put faults there, and package gracetest puts goroutines in place
// of processes.
package wiring

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/container"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// Wiring is how a process meets others.
type Wiring struct {
	// TakeLink returns the link to the old process and the descriptors that follow it, which the
	// environment announces behind so many sockets; the link is nil in a first generation.
	TakeLink func(sockets int) (Link, []*os.File, error)
	// Launch starts a successor. It has the successor greeted before that: from its first
	// instruction on the successor must be able to take over, even if this process is gone by then.
	Launch func(context.Context, Launch) (Child, Link, error)
	// Pair makes both ends of a link for transfers. A nil function makes none.
	Pair func() (*handoff.Link, *os.File, error)
	// Container says why the container ends with this process; a nil function and "" say that it
	// does not, see package container.
	Container func() string
}

// Option is a func(Wiring) grace.Option, which package grace sets. It is how the packages of this
// module make a Manager with another wiring. Such a process may have several Managers.
var Option any

// Link is the connection to another generation. *handoff.Link is one.
type Link interface {
	syscall.Conn
	Heard() string
	IsRead() bool
	Unread(handoff.Message) error
	Prepend(heard string)
	Send(context.Context, handoff.Message) error
	Queue(handoff.Message) error
	Flush(context.Context) error
	Receive(context.Context) (handoff.Message, error)
	StopWaiting()
	Close() error
}

// Child is a process that this one has started. *process.Child is one.
type Child interface {
	PID() int
	Exited() <-chan struct{}
	State() string
	Terminate() error
	Kill() error
}

// Watched is a process that is not a child of this one. *process.Watched is one.
type Watched interface {
	Gone() <-chan struct{}
	Signal(syscall.Signal) error
	State(context.Context) string
	Close()
}

// Launch is what a successor is started with.
type Launch struct {
	Path       string
	Args       []string // with the program's name first
	Dir        string
	Env        []string            // without the variables that announce descriptors
	Executable *process.Executable // that was checked; nil: whatever is at the path
	Sockets    []uintptr
	Records    []fds.Record // of the sockets
	Extras     []Extra      // that follow the link
	Greet      func(Link) error
}

// Processes is the wiring of a program.
func Processes() Wiring {
	return Wiring{
		TakeLink: takeLink, Launch: launch, Pair: handoff.TransferPair, Container: container.Reason,
	}
}

func takeLink(sockets int) (Link, []*os.File, error) {
	l, files, err := handoff.TakeLink(sockets)
	if l == nil { // and not an interface around it
		return nil, nil, err
	}
	return l, files, err
}

func launch(ctx context.Context, l Launch) (Child, Link, error) {
	ours, theirs, err := handoff.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close() //nolint:errcheck // the successor has its own by then
	if err := l.Greet(ours); err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	files := append(append(process.Stdio(), l.Sockets...), theirs.Fd())
	link := len(files) - 1
	for _, x := range l.Extras {
		files = append(files, x.FD)
	}
	announced := append(fds.Announce(l.Records), handoff.Announce(link, len(l.Extras)))
	c, err := process.Start(ctx, process.Spec{
		Path: l.Path, Args: l.Args, Dir: l.Dir, Env: append(l.Env, announced...),
		Files: files, Executable: l.Executable,
	})
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return c, ours, nil
}

// Hear receives a message. An error is not the end of the other process, and may pass: unless it
// is the end, violates the protocol, ctx has ended or the link was closed here, Hear tries again a
// few times.
func Hear(ctx context.Context, l Link) (m handoff.Message, err error) {
	for range hearings {
		m, err = l.Receive(ctx)
		if err == nil || handoff.IsEnd(err) || errors.Is(err, handoff.ErrProtocol) ||
			errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			break
		}
	}
	return m, err
}

const hearings = 3

// MaxIgnored bounds the messages that are read from a process that has nothing more to say.
const MaxIgnored = 16

// SayTimeout bounds a message that nobody needs to read.
const SayTimeout = time.Second

// Say sends a message to a process that may no longer listen. It reports whether that was possible.
func Say(l Link, m handoff.Message) bool {
	ctx, cancel := context.WithTimeout(context.Background(), SayTimeout)
	defer cancel()
	return l.Send(ctx, m) == nil
}

// Refuse tells the old process why this one will not serve, and closes the link.
func Refuse(l Link, reason error) {
	Say(l, &handoff.Failed{Reason: handoff.Reason(reason)})
	_ = l.Close()
}

// Extra is a file for a successor that is neither a socket of the service nor the link.
type Extra struct {
	Conn  syscall.Conn
	About handoff.ExtraFile
	FD    uintptr // while it is pinned
}
