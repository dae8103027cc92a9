package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/transfer"
)

// helloTimeout bounds the wait for Hello, which the old process sends before it starts us; of a long one, the rest comes after that.
const helloTimeout = 10 * time.Second

// inheritance is what a process was started with.
type inheritance struct {
	generation int
	handoff    string
	sockets    *fds.Set
	parent     *parent               // nil in a first generation
	ancestors  []*ancestor           // that were draining before the parent, the oldest first
	received   *received             // files and states of the application; nil if there are none
	transfers  map[int]*handoff.Link // of connections, by the generation that drains
	warning    error                 // something to tell the observers
}

// linkTaker finds the link to the old process, and the descriptors that follow it, behind so many sockets.
type linkTaker func(sockets int) (link, []*os.File, error)

// takeLink is the linkTaker outside of tests.
func takeLink(sockets int) (link, []*os.File, error) {
	l, files, err := handoff.TakeLink(sockets)
	if l == nil { // and no interface around it
		return nil, nil, err
	}
	return l, files, err
}

// inherit reads what the environment announces, and removes it from there.
func inherit(take linkTaker) (inheritance, error) {
	legacy, legacyErr := findLegacyParent()
	announced, err := fds.TakeAnnounced()
	err = errors.Join(legacyErr, err)
	l, files, linkErr := take(announced.Count)
	switch {
	case err != nil || linkErr != nil:
		fds.Discard(announced)
		err = errors.Join(err, linkErr, handoff.CloseAll(files))
		if l != nil {
			refuse(l, err)
		}
		return inheritance{}, fmt.Errorf("grace: %w", err)
	case l == nil:
		return inheritAnnounced(announced, legacy)
	}
	from, err := inheritFrom(l, files, announced)
	if err != nil {
		refuse(l, err)
		return inheritance{}, fmt.Errorf("grace: %w", err)
	}
	return from, nil
}

// disinherit gives up what the process was started with, because New fails.
func disinherit(reason error) {
	announced, err := fds.TakeAnnounced()
	if err == nil {
		fds.Discard(announced)
	}
	if l, files, err := takeLink(announced.Count); err == nil && l != nil {
		_ = handoff.CloseAll(files)
		refuse(l, reason)
	}
}

// inheritAnnounced makes a first generation, with the sockets of a service manager if there are any, or the successor of a
// legacy parent, unless that is 0.
func inheritAnnounced(announced fds.Announced, legacy int) (inheritance, error) {
	set, err := fds.Inherit(announced, nil)
	if err != nil {
		return inheritance{}, fmt.Errorf("grace: %w", err)
	}
	if legacy == 0 {
		return inheritance{generation: 1, sockets: set}, nil
	}
	p, err := newLegacyParent(legacy)
	if err != nil {
		return inheritance{}, errors.Join(fmt.Errorf("grace: %w", err), set.Close())
	}
	return inheritance{generation: p.Generation + 1, sockets: set, parent: p}, nil
}

// inheritFrom makes a successor.
func inheritFrom(l link, files []*os.File, announced fds.Announced) (inheritance, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), helloTimeout, ErrTimeout)
	defer cancel()
	hello, err := receiveHello(ctx, l)
	if errors.Is(err, io.EOF) {
		// The old process died in the middle of a long Hello. Its sockets are here, and nobody else has them.
		from, inheritErr := inheritAnnounced(announced, 0)
		from.warning = fmt.Errorf("the old process has died at the start of the handoff, taking over: %w", err)
		return from, errors.Join(inheritErr, handoff.CloseAll(files), l.Close())
	}
	if err != nil {
		fds.Discard(announced)
		return inheritance{}, errors.Join(err, handoff.CloseAll(files))
	}
	set, err := fds.Inherit(announced, known(hello.Sockets))
	if err != nil {
		return inheritance{}, errors.Join(err, handoff.CloseAll(files))
	}
	p, err := sortPassed(hello.Extras, files)
	if err != nil {
		return inheritance{}, errors.Join(err, set.Close())
	}
	return inheritance{
		generation: hello.Generation, handoff: hello.Handoff, sockets: set, parent: newParent(l, hello, p.watchParent(hello.PID)),
		transfers: p.transfers, ancestors: p.ancestors(hello.Drain), received: p.received,
	}, nil
}

// known makes a description of no sockets differ from no description.
func known(records []fds.Record) []fds.Record {
	if records == nil {
		return []fds.Record{}
	}
	return records
}

func receiveHello(ctx context.Context, l link) (*handoff.Hello, error) {
	msg, err := l.Receive(ctx)
	if err != nil {
		return nil, err
	}
	hello, ok := msg.(*handoff.Hello)
	if !ok {
		return nil, fmt.Errorf("%w: the old process began with %s instead of Hello", ErrProtocol, handoff.Name(msg))
	}
	return hello, nil
}

// passed is what came beside sockets and link, by its use.
type passed struct {
	links     []passedLink
	processes map[int]*process.Watched
	received  *received
	transfers map[int]*handoff.Link // by generation
}

type passedLink struct {
	link  *handoff.Link
	about handoff.ExtraFile
}

// sortPassed takes the descriptors that Hello describes.
func sortPassed(described []handoff.ExtraFile, files []*os.File) (*passed, error) {
	if len(described) != len(files) {
		return nil, errors.Join(fmt.Errorf("%w: the old process has passed %d descriptors after the link, and describes %d",
			ErrProtocol, len(files), len(described)), handoff.CloseAll(files))
	}
	p := &passed{processes: make(map[int]*process.Watched), received: newReceived(), transfers: make(map[int]*handoff.Link)}
	var errs []error
	for i, about := range described {
		errs = append(errs, p.take(about, files[i]))
	}
	if err := errors.Join(errs...); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *passed) take(about handoff.ExtraFile, f *os.File) error {
	switch about.Use {
	case handoff.UseProcess:
		w, err := process.WatchHandle(f, about.PID)
		if err != nil {
			return err
		}
		p.processes[about.PID] = w
	case handoff.UseLink:
		l, err := handoff.NewLink(f)
		if err != nil {
			return fmt.Errorf("link to generation %d: %w", about.Generation, err)
		}
		p.links = append(p.links, passedLink{l, about})
	case handoff.UseTransfers:
		return p.takeTransfers(about.Generation, f)
	case handoff.UseFile:
		return p.received.takeFile(about.Name, f)
	case handoff.UseState:
		return p.received.takeStates(f)
	default:
		return errors.Join(fmt.Errorf("%w: the old process has passed a descriptor for the unknown use %d", ErrProtocol, about.Use), f.Close())
	}
	return nil
}

func (p *passed) takeTransfers(generation int, f *os.File) error {
	if p.transfers[generation] != nil {
		return errors.Join(fmt.Errorf("%w: the old process has passed two links for the transfers of generation %d", ErrProtocol, generation), f.Close())
	}
	l, err := handoff.NewLink(f)
	if err != nil {
		return fmt.Errorf("link for the transfers of generation %d: %w", generation, err)
	}
	p.transfers[generation] = l
	return nil
}

func (p *passed) close() {
	for _, l := range p.transfers {
		_ = l.Close()
	}
	for _, l := range p.links {
		_ = l.link.Close()
	}
	for _, w := range p.processes {
		w.Close()
	}
	p.received.close(errors.New("New has failed"))
}

// watchParent watches the process that has sent the Hello.
func (p *passed) watchParent(pid int) watched {
	if w, ok := p.processes[pid]; ok {
		return w
	}
	return watchNumber(pid)
}

// ancestors gives the older generations of the links, in their order. Commit says when they are due; without it, they get as
// long as the old process would.
func (p *passed) ancestors(drain time.Duration) []*ancestor {
	var all []*ancestor
	for _, l := range p.links {
		var w watched = unwatched{}
		if handle, ok := p.processes[l.about.PID]; ok {
			w = handle
		}
		a := newAncestor(Process{l.about.PID, l.about.Generation}, l.link, w, time.Now().Add(drain+overdueGrace))
		a.legacy = l.about.Legacy
		all = append(all, a)
	}
	return all
}

// receivers returns the receiver of each older generation that may transfer connections. It closes
// a link that belongs to none of them.
func (from inheritance) receivers(handlers *transfer.Handlers) []*transfer.Receiver {
	var all []*transfer.Receiver
	older := from.ancestors
	if from.parent != nil {
		older = append(slices.Clip(older), from.parent.ancestor)
	}
	for _, a := range older {
		if l := from.transfers[a.Generation]; l != nil {
			delete(from.transfers, a.Generation)
			all = append(all, transfer.NewReceiver(a.Generation, l, a.gone(), handlers))
		}
	}
	for _, l := range from.transfers {
		_ = l.Close()
	}
	return all
}

// refuse tells the old process why there will be no handoff.
func refuse(l link, reason error) {
	ctx, cancel := context.WithTimeout(context.Background(), sayTimeout)
	defer cancel()
	_ = l.Send(ctx, &handoff.Failed{Reason: handoff.Reason(reason)})
	_ = l.Close()
}
