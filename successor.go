package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/transfer"
)

// How long the old process waits for things that take a successor no time.
const (
	commitTimeout = 10 * time.Second // from Commit to Serving
	killTimeout   = 5 * time.Second  // from SIGKILL to the end
	sayTimeout    = time.Second      // for a message that nobody needs to read
)

// link is the connection to another generation.
type link interface {
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

// child is a process that this one has started.
type child interface {
	PID() int
	Exited() <-chan struct{}
	State() string
	Terminate() error
	Kill() error
}

// successor is the new process, as the old one sees it.
type successor struct {
	child     child
	link      link
	sender    *transfer.Sender // of connections, while this process drains
	committed bool             // Commit was sent
	refused   bool             // it has said Failed
}

// estate is what a successor is started with.
type estate struct {
	env      []string
	sockets  []uintptr
	records  []fds.Record // of the sockets
	bequests []bequest
	greet    func(link) error // queues Hello
}

// launcher starts a successor. It has the successor greeted before that: from its first instruction on, that must be able to
// take over, also if this process is gone by then.
type launcher func(context.Context, program, estate) (*successor, error)

// startProcess is the launcher outside of tests.
func startProcess(ctx context.Context, prog program, e estate) (*successor, error) {
	ours, theirs, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() //nolint:errcheck // the successor has its own by then
	if err := e.greet(ours); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	files := append(append(process.Stdio(), e.sockets...), theirs.Fd())
	announced := append(fds.Announce(e.records), handoff.Announce(len(files)-1, len(e.bequests)))
	for _, b := range e.bequests {
		files = append(files, b.fd)
	}
	c, err := process.Start(ctx, process.Spec{
		Path: prog.path, Args: prog.args, Dir: prog.dir, Env: append(e.env, announced...), Files: files, Executable: prog.opened,
	})
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	return &successor{child: c, link: ours}, nil
}

// farewell says that this process is about to exit.
func (s *successor) farewell(end DrainFinished) {
	msg := &handoff.Drained{Duration: end.Duration}
	for _, c := range end.Cut {
		msg.Cut = append(msg.Cut, handoff.Cut(c))
	}
	if end.Err != nil {
		msg.Error = handoff.Reason(end.Err)
	}
	s.say(msg)
	_ = s.link.Close()
}

// say sends a message to a process that may not listen any more. It reports whether the message could be sent.
func (s *successor) say(m handoff.Message) bool {
	ctx, cancel := context.WithTimeout(context.Background(), sayTimeout)
	defer cancel()
	return s.link.Send(ctx, m) == nil
}

// discard ends a successor that is not wanted. One that has accepted connections is given some time to finish them. The error
// says that it could not be ended.
func (s *successor) discard(ctx context.Context, reason error, patience time.Duration) error {
	knows := s.say(&handoff.Abort{Reason: handoff.Reason(reason)}) || s.refused
	switch {
	case knows || patience == 0:
	case s.committed:
		patience = 0 // it may believe that it serves alone: it would end the service, and remove the paths of its sockets
	default:
		_ = s.child.Terminate()
	}
	if patience > 0 && s.endsWithin(ctx, patience) {
		return s.link.Close()
	}
	err := s.child.Kill()
	if s.endsWithin(context.Background(), killTimeout) {
		return s.link.Close()
	}
	// It was told to give up: that has to do where it cannot be killed, having changed its user.
	return errors.Join(fmt.Errorf("the successor %d has not ended %v after it was killed", s.child.PID(), killTimeout), err, s.link.Close())
}

func (s *successor) endsWithin(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-s.child.Exited():
		return true
	case <-ctx.Done():
		return false
	}
}

// state says how the successor has ended, without waiting.
func (s *successor) state() string {
	select {
	case <-s.child.Exited():
		return s.child.State()
	default:
		return "running"
	}
}

// upgradable says why no process like this one can be replaced.
func upgradable() error {
	if !process.Supported {
		return fmt.Errorf("grace: sockets cannot be passed to a process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	if os.Getpid() == 1 {
		return fmt.Errorf("grace: this process is PID 1, at whose end the container or PID namespace ends: run it under an init (docker run --init): %w",
			errors.ErrUnsupported)
	}
	return nil
}
