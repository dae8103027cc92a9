package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/legacy"
	"github.com/go-grace/grace/internal/passed"
	"github.com/go-grace/grace/internal/privilege"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// helloTimeout bounds the wait for Hello, which the old process sends before it starts us; of a
// long one, the rest comes after that.
const helloTimeout = 10 * time.Second

// inheritance is what a process was started with.
type inheritance struct {
	generation int
	handoff    string
	sockets    *fds.Set
	count      int                   // of inherited sockets
	parent     *parent               // nil in a first generation
	older      []*generation.Older   // that were draining before the parent, the oldest first
	received   *passed.Inherited     // files and states of the application; nil if there are none
	transfers  map[int]*handoff.Link // of connections, by the generation that drains
	died       error                 // the parent has, at the start of the handoff
	environ    []string              // of the first generation; nil if this process has it too
}

// linkTaker is wiring.Wiring's TakeLink.
type linkTaker func(sockets int) (wiring.Link, []*os.File, error)

// inherit reads what the environment announces, and removes it from there.
func inherit(take linkTaker) (inheritance, error) {
	pid, legacyErr := legacy.FindParent()
	announced, err := fds.TakeAnnounced()
	err = errors.Join(legacyErr, err)
	l, files, linkErr := take(announced.Count)
	switch {
	case err != nil || linkErr != nil:
		fds.Discard(announced)
		err = errors.Join(err, linkErr, handoff.CloseAll(files))
		if l != nil {
			wiring.Refuse(l, err)
		}
		return inheritance{}, fmt.Errorf("grace: %w", err)
	case l == nil:
		return inheritAnnounced(announced, pid)
	}
	from, err := inheritFrom(l, files, announced)
	if err != nil {
		wiring.Refuse(l, err)
		return inheritance{}, fmt.Errorf("grace: %w", err)
	}
	return from, nil
}

// ignoreForeign has an elevated process ignore what its environment announces, unless that comes
// from a process which has the same rights already: with a link a user could have it end processes
// of others, and remove and read files. The error says that it cannot be known.
func (p *program) ignoreForeign() error {
	if !privilege.Elevated() {
		return nil
	}
	if equal, err := handoff.FromEqual(); equal {
		return err
	}
	sockets, link := fds.Ignore(), handoff.Ignore()
	if sockets || link {
		p.notices = append(p.notices, graceevent.AnnouncementIgnored{})
	}
	return nil
}

// disinherit gives up what the process was started with, because New fails.
func disinherit(take linkTaker, reason error) {
	announced, err := fds.TakeAnnounced()
	if err == nil {
		fds.Discard(announced)
	}
	if l, files, err := take(announced.Count); err == nil && l != nil {
		_ = handoff.CloseAll(files)
		wiring.Refuse(l, reason)
	}
}

// inheritAnnounced makes a first generation, with the sockets of a service manager if there are
// any, or the successor of a parent of facebookgo/grace, unless its pid is 0.
func inheritAnnounced(announced fds.Announced, pid int) (inheritance, error) {
	set, err := fds.Inherit(announced, nil)
	if err != nil {
		return inheritance{}, fmt.Errorf("grace: %w", err)
	}
	from := inheritance{generation: 1, sockets: set, count: announced.Count}
	if pid == 0 {
		return from, nil
	}
	p, err := legacy.Follow(pid)
	if err != nil {
		return inheritance{}, errors.Join(fmt.Errorf("grace: %w", err), set.Close())
	}
	from.generation, from.parent = p.Generation+1, &parent{Older: p}
	return from, nil
}

// inheritFrom makes a successor.
func inheritFrom(l wiring.Link, files []*os.File, announced fds.Announced) (inheritance, error) {
	ctx, cancel := wait.WithTimeout(context.Background(), helloTimeout, ErrTimeout)
	defer cancel()
	hello, err := receiveHello(ctx, l)
	if errors.Is(err, io.EOF) {
		// The old process died in the middle of a long Hello. Its sockets are here, and nobody else
		// has them.
		from, inheritErr := inheritAnnounced(announced, 0)
		from.died = err
		_, _ = handoff.CloseAll(files), l.Close() // of a process that is gone
		return from, inheritErr
	}
	if err != nil {
		fds.Discard(announced)
		return inheritance{}, errors.Join(err, handoff.CloseAll(files))
	}
	set, err := fds.Inherit(announced, known(hello.Sockets))
	if err != nil {
		return inheritance{}, errors.Join(err, handoff.CloseAll(files))
	}
	x, err := sortExtras(hello.Extras, files)
	if err != nil {
		return inheritance{}, errors.Join(err, set.Close())
	}
	return inheritance{
		generation: hello.Generation, handoff: hello.Handoff, sockets: set, count: announced.Count,
		parent: newParent(l, hello, x.watchParent(hello.PID)), transfers: x.transfers,
		older: x.older(hello.Drain), received: x.inherited, environ: hello.Environ,
	}, nil
}

// known makes a description of no sockets differ from no description.
func known(records []fds.Record) []fds.Record {
	if records == nil {
		return []fds.Record{}
	}
	return records
}

func receiveHello(ctx context.Context, l wiring.Link) (*handoff.Hello, error) {
	msg, err := wiring.Hear(ctx, l)
	if err != nil {
		return nil, err
	}
	hello, ok := msg.(*handoff.Hello)
	if !ok {
		return nil, fmt.Errorf("%w: the old process began with %s instead of Hello",
			ErrProtocol, handoff.Name(msg))
	}
	return hello, hello.Check()
}

// receivers returns the receiver of each older generation that may transfer connections. It closes
// a link that belongs to none of them.
func (from inheritance) receivers(handlers *transfer.Handlers) []*transfer.Receiver {
	var all []*transfer.Receiver
	older := from.older
	if from.parent != nil {
		older = append(slices.Clip(older), from.parent.Older)
	}
	for _, o := range older {
		if l := from.transfers[o.Generation]; l != nil {
			delete(from.transfers, o.Generation)
			all = append(all, transfer.NewReceiver(o.Generation, l, o.Gone(), handlers))
		}
	}
	for _, l := range from.transfers {
		_ = l.Close()
	}
	return all
}

// newParent returns the process that has sent the Hello.
func newParent(l wiring.Link, hello *handoff.Hello, w wiring.Watched) *parent {
	p := Process{PID: hello.PID, Generation: hello.Generation - 1}
	return &parent{
		Older: generation.New(p, l, w), deadline: time.Now().Add(hello.Timeout), drain: hello.Drain,
	}
}

// inheritedEvent tells the observers with what the process was started.
func (m *Manager) inheritedEvent(sockets int) graceevent.Inherited {
	e := graceevent.Inherited{Sockets: sockets}
	if m.parent != nil {
		e.Parent = &m.parent.Process
	}
	e.Files, e.States = m.inherited.Names()
	return e
}

// errServing is why there is nothing to be had in a process that serves.
var errServing = errors.New("this process serves, and what nobody had asked for by then was closed")

// closeUnclaimed closes what nobody has asked for.
func (m *Manager) closeUnclaimed(ctx context.Context) {
	if closed := m.sockets.CloseUnclaimed(); len(closed) > 0 {
		names := make([]string, len(closed))
		for i, r := range closed {
			names[i] = r.String()
		}
		m.emit(ctx, graceevent.SocketsAbandoned{Sockets: names})
	}
	if files, states := m.inherited.Close(errServing); len(files)+len(states) > 0 {
		m.emit(ctx, graceevent.InheritedAbandoned{Files: files, States: states})
	}
}
