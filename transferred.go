package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// HandleTransfers has take called for each connection that the previous process transfers by the name while it drains, see
// [Manager.Transfer]; with the state that came with it. It is called once this process serves, in a goroutine of its own for each
// connection, which take owns: a [*net.TCPConn] or [*net.UnixConn], with the options of its socket as they were.
//
// It should be called before [Manager.Ready]: a connection for whose name there is no function is refused, and stays with the
// previous process. So it is after stop was called; when that returns, take is called no more.
//
// The name must be printable UTF-8 of 1 to 255 bytes. It is an error if the name has a function, or take is nil.
func (m *Manager) HandleTransfers(name string, take func(c net.Conn, state []byte)) (stop func(), err error) {
	if err := m.takers.add(name, take); err != nil {
		return nil, fmt.Errorf("grace: handle transfers: %w", err)
	}
	return sync.OnceFunc(func() { m.takers.remove(name) }), nil
}

// takers have the functions of HandleTransfers.
type takers struct {
	mu sync.RWMutex // held for reading while a connection is taken
	of map[string]func(net.Conn, []byte)
}

func newTakers() *takers { return &takers{of: make(map[string]func(net.Conn, []byte))} }

func (t *takers) add(name string, take func(net.Conn, []byte)) error {
	if err := state.CheckName(name); err != nil {
		return err
	}
	if take == nil {
		return fmt.Errorf("the function for %q is nil", name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[name] != nil {
		return fmt.Errorf("%q has a function already", name)
	}
	t.of[name] = take
	return nil
}

func (t *takers) remove(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, name)
}

// deathTimeout is how long a process may take to end whose link has ended.
const deathTimeout = time.Second

// incoming are the connections that the previous process offers.
type incoming struct {
	link   *handoff.Link
	takers *takers
	parent *ancestor
	unsure []taking // of which it could not be said that they are taken
}

// taking is a connection that there is a function for.
type taking struct {
	conn  net.Conn
	state []byte
	take  func(net.Conn, []byte)
}

// receive takes what is offered, until the link or ctx ends.
func (in *incoming) receive(ctx context.Context) {
	defer in.link.Close() //nolint:errcheck // nothing is written
	err := in.takeAll(ctx)
	if len(in.unsure) == 0 {
		return
	}
	// A process that has died without having revoked what it offered had not gone on with it: its connections are here alone.
	if err != io.EOF || !in.parent.goneWithin(ctx, deathTimeout) { //nolint:errorlint // not in the middle of a message
		in.drop()
	}
	for _, t := range in.unsure {
		go t.take(t.conn, t.state) // ends with the function
	}
}

func (in *incoming) takeAll(ctx context.Context) error {
	for {
		msg, file, err := in.link.ReceiveWith(ctx)
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *handoff.Offer:
			in.consider(ctx, msg, file)
		case *handoff.Revoked:
			in.drop()
		default:
			return errors.Join(fmt.Errorf("%w: the old process has sent %s instead of Offer", ErrProtocol, handoff.Name(msg)), closeFile(file))
		}
	}
}

// consider answers an offer. The connection must not be touched before the old process can know that it is taken.
func (in *incoming) consider(ctx context.Context, offer *handoff.Offer, file *os.File) {
	in.takers.mu.RLock()
	defer in.takers.mu.RUnlock()
	t, err := in.open(offer, file)
	if err != nil {
		_ = in.link.Send(ctx, &handoff.Refused{Seq: offer.Seq, Reason: handoff.Reason(err)})
		return
	}
	if err := in.link.Send(ctx, &handoff.Taken{Seq: offer.Seq}); err != nil {
		in.unsure = append(in.unsure, t)
		return
	}
	go t.take(t.conn, t.state) // ends with the function
}

func (in *incoming) open(offer *handoff.Offer, file *os.File) (taking, error) {
	take := in.takers.of[offer.Name]
	switch {
	case file == nil:
		return taking{}, errors.New("no descriptor has come: the new process may have too many open")
	case take == nil:
		return taking{}, errors.Join(fmt.Errorf("the new process has no function for %q: see HandleTransfers", offer.Name), file.Close())
	}
	c, err := fds.OpenConn(file)
	return taking{c, []byte(offer.State), take}, err
}

// drop leaves what was not taken for sure to the old process.
func (in *incoming) drop() {
	for _, t := range in.unsure {
		_ = t.conn.Close()
	}
	in.unsure = nil
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}
