package grace

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/generation"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/passed"
	"github.com/go-grace/grace/internal/process"
	"github.com/go-grace/grace/internal/transfer"
	"github.com/go-grace/grace/internal/wiring"
)

// extras are the files of a successor that are neither sockets of the service nor the link. They
// are pinned: none can be closed until release is called.
type extras struct {
	all  []wiring.Extra
	pins []*fds.Pin
	own  []*os.File // that are for the successor alone
}

// extras collects and pins everything that is open. transfers is the other end of our link for
// transfers, if there is one.
func (u *upgrade) extras(transfers *os.File) *extras {
	e := &extras{}
	for _, x := range append(u.m.older.Extras(), u.m.outgoing.Extras()...) {
		e.add(x)
	}
	e.addOwn(transfers, handoff.ExtraFile{Use: handoff.UseTransfers, Generation: u.m.generation})
	u.redirects = transfer.NewRedirects(u.m.receivers, u.m.opts.wires.Pair)
	for _, r := range u.redirects {
		e.addOwn(r.End, handoff.ExtraFile{Use: handoff.UseTransfers, Generation: r.Generation})
	}
	e.addOwn(process.Self(), handoff.ExtraFile{
		Use: handoff.UseProcess, PID: os.Getpid(), Generation: u.m.generation,
	})
	if u.state != nil { // which is closed with the upgrade
		e.add(wiring.Extra{Conn: u.state, About: handoff.ExtraFile{Use: handoff.UseState}})
	}
	return e
}

func (e *extras) addOwn(f *os.File, about handoff.ExtraFile) {
	if f != nil {
		e.own = append(e.own, f)
		e.add(wiring.Extra{Conn: f, About: about})
	}
}

// add leaves out what is closed.
func (e *extras) add(x wiring.Extra) {
	pin, err := fds.PinConn(x.Conn)
	if err != nil {
		return
	}
	x.FD = pin.FD()
	e.pins, e.all = append(e.pins, pin), append(e.all, x)
}

// described returns the descriptions for Hello.
func (e *extras) described() []handoff.ExtraFile {
	described := make([]handoff.ExtraFile, len(e.all))
	for i, x := range e.all {
		described[i] = x.About
	}
	return described
}

// release unpins everything, and closes what is for the successor alone.
func (e *extras) release() {
	for _, pin := range e.pins {
		pin.Release()
	}
	_ = handoff.CloseAll(e.own) // nothing is written
}

// inheritedExtras are the files that came beside the sockets and the link, by their use.
type inheritedExtras struct {
	links     []olderLink
	processes map[int]*process.Watched
	inherited *passed.Inherited
	transfers map[int]*handoff.Link // by generation
}

// olderLink is the link to an older generation.
type olderLink struct {
	link  *handoff.Link
	about handoff.ExtraFile
}

// sortExtras takes the files that Hello describes.
func sortExtras(described []handoff.ExtraFile, files []*os.File) (*inheritedExtras, error) {
	if len(described) != len(files) {
		err := fmt.Errorf("%w: the old process passed %d descriptors after the link and describes %d",
			ErrProtocol, len(files), len(described))
		return nil, errors.Join(err, handoff.CloseAll(files))
	}
	x := &inheritedExtras{
		processes: make(map[int]*process.Watched), inherited: passed.NewInherited(),
		transfers: make(map[int]*handoff.Link),
	}
	var errs []error
	for i, about := range described {
		errs = append(errs, x.take(about, files[i]))
	}
	if err := errors.Join(errs...); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *inheritedExtras) take(about handoff.ExtraFile, f *os.File) error {
	switch about.Use {
	case handoff.UseProcess:
		return x.takeProcess(about.PID, f)
	case handoff.UseLink:
		l, err := handoff.NewLink(f)
		if err != nil {
			return fmt.Errorf("link to generation %d: %w", about.Generation, err)
		}
		x.links = append(x.links, olderLink{l, about})
	case handoff.UseTransfers:
		return x.takeTransfers(about.Generation, f)
	case handoff.UseFile:
		return x.inherited.TakeFile(about.Name, f)
	case handoff.UseState:
		return x.inherited.TakeStates(f)
	default:
		err := fmt.Errorf("%w: the old process passed a descriptor for the unknown use %d",
			ErrProtocol, about.Use)
		return errors.Join(err, f.Close())
	}
	return nil
}

func (x *inheritedExtras) takeProcess(pid int, f *os.File) error {
	if x.processes[pid] != nil {
		err := fmt.Errorf("%w: the old process passed two descriptors of process %d",
			ErrProtocol, pid)
		return errors.Join(err, f.Close())
	}
	w, err := process.WatchHandle(f, pid)
	if err != nil {
		return err
	}
	x.processes[pid] = w
	return nil
}

func (x *inheritedExtras) takeTransfers(generation int, f *os.File) error {
	if x.transfers[generation] != nil {
		err := fmt.Errorf("%w: the old process passed two links for the transfers of generation %d",
			ErrProtocol, generation)
		return errors.Join(err, f.Close())
	}
	l, err := handoff.NewLink(f)
	if err != nil {
		return fmt.Errorf("link for the transfers of generation %d: %w", generation, err)
	}
	x.transfers[generation] = l
	return nil
}

func (x *inheritedExtras) close() {
	for _, l := range x.transfers {
		_ = l.Close()
	}
	for _, l := range x.links {
		_ = l.link.Close()
	}
	for _, w := range x.processes {
		w.Close()
	}
	x.inherited.Close(errors.New("New has failed"))
}

// watchParent watches the process that has sent the Hello.
func (x *inheritedExtras) watchParent(pid int) wiring.Watched {
	if w, ok := x.processes[pid]; ok {
		return w
	}
	return generation.WatchParent(pid)
}

// older returns the generations of the links, in their order. Commit says when they are due;
// without it they get as long as the old process would.
func (x *inheritedExtras) older(drain time.Duration) []*generation.Older {
	var all []*generation.Older
	for _, l := range x.links {
		var w wiring.Watched = generation.Unwatched{}
		if handle, ok := x.processes[l.about.PID]; ok {
			w = handle
		}
		o := generation.New(Process{PID: l.about.PID, Generation: l.about.Generation}, l.link, w)
		o.Due, o.Legacy = time.Now().Add(drain+generation.OverdueGrace), l.about.Legacy
		all = append(all, o)
	}
	return all
}
