package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/state"
)

// HandleTransfers has take called for each connection that the previous process transfers by the name while it drains, see
// [Manager.Transfer]; with the state that came with it. It is called once this process serves, in a goroutine of its own for each
// connection, which take owns: a [*net.TCPConn] or [*net.UnixConn], with the options of its socket as they were. Its RemoteAddr is not
// nil: a connection that has ended on its way, reset by its client, is refused, and stays with the previous process.
//
// It should be called before [Manager.Ready]: a connection for whose name there is no function is refused, and stays with the
// previous process. So it is after stop was called. When stop returns, every call of take has returned, and there will be no more:
// take must not call it. The drain of this process needs no stop: after the OnDrain hooks have run nothing is taken any more, and
// the calls of take are waited for like the functions of [Manager.Go].
//
// The name must be printable UTF-8 of 1 to 255 bytes. It is an error if the name has a function, or take is nil.
func (m *Manager) HandleTransfers(name string, take func(c net.Conn, state []byte)) (stop func(), err error) {
	t, err := m.takers.add(name, take)
	if err != nil {
		return nil, fmt.Errorf("grace: handle transfers: %w", err)
	}
	return sync.OnceFunc(func() { m.takers.remove(t) }), nil
}

// takers have the functions of HandleTransfers.
type takers struct {
	work   *work // of the Manager, which counts the calls
	mu     sync.Mutex
	of     map[string]*taker
	closed bool
}

// taker is a function of HandleTransfers.
type taker struct {
	name  string
	take  func(net.Conn, []byte)
	calls sync.WaitGroup
}

func newTakers(w *work) *takers { return &takers{work: w, of: make(map[string]*taker)} }

func (ts *takers) add(name string, take func(net.Conn, []byte)) (*taker, error) {
	if err := state.CheckName(name); err != nil {
		return nil, err
	}
	if take == nil {
		return nil, fmt.Errorf("the function for %q is nil", name)
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.of[name] != nil {
		return nil, fmt.Errorf("%q has a function already", name)
	}
	t := &taker{name: name, take: take}
	ts.of[name] = t
	return t, nil
}

// remove returns when the function is called no more.
func (ts *takers) remove(t *taker) {
	ts.mu.Lock()
	delete(ts.of, t.name)
	ts.mu.Unlock()
	t.calls.Wait()
}

// close has everything refused from now on.
func (ts *takers) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
}

// begin counts a call of the function by the name. It must be ended.
func (ts *takers) begin(name string) (*taker, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.of[name]
	switch {
	case ts.closed:
		return nil, errors.New("the new process has drained")
	case t == nil:
		return nil, fmt.Errorf("the new process has no function for %q: see HandleTransfers", name)
	}
	t.calls.Add(1)
	ts.work.begin()
	return t, nil
}

func (ts *takers) end(t *taker) {
	t.calls.Done()
	ts.work.end(nil)
}

// deathTimeout is how long a process may take to end whose link has ended.
const deathTimeout = 10 * time.Second

// incoming are the connections that an older generation offers.
type incoming struct {
	link    *handoff.Link
	takers  *takers
	from    *ancestor
	ended   atomic.Bool // it offers nothing any more
	sending sync.Mutex
	unsure  []taking // of which it could not be said that they are taken
}

// taking is a connection that there is a function for, whose call has begun.
type taking struct {
	*taker
	conn  net.Conn
	state []byte
}

// receive takes what is offered, until the link or ctx ends.
func (in *incoming) receive(ctx context.Context) {
	defer in.close()
	err := in.takeAll(ctx)
	if len(in.unsure) == 0 {
		return
	}
	// A process that has died without having revoked what it offered had not gone on with it: its connections are here alone.
	if err != io.EOF || !in.from.goneWithin(ctx, deathTimeout) { //nolint:errorlint // not in the middle of a message
		in.drop()
	}
	for _, t := range in.unsure {
		go in.call(t) // ends with the function
	}
}

var errRevoked = errors.New("the old process keeps what it has offered")

func (in *incoming) takeAll(ctx context.Context) error {
	for {
		msg, file, err := in.link.ReceiveWith(ctx)
		if err != nil {
			return err
		}
		if offer, ok := msg.(*handoff.Offer); ok {
			in.consider(ctx, offer, file)
			continue
		}
		_ = closeFile(file)
		if _, ok := msg.(*handoff.Revoked); ok {
			return errRevoked // and says nothing more
		}
		return fmt.Errorf("%w: the old process has sent %s instead of Offer", ErrProtocol, handoff.Name(msg))
	}
}

// consider answers an offer. The connection must not be touched before the old process can know that it is taken.
func (in *incoming) consider(ctx context.Context, offer *handoff.Offer, file *os.File) {
	t, err := in.open(offer, file)
	if err != nil {
		_ = in.send(ctx, &handoff.Refused{Seq: offer.Seq, Reason: handoff.Reason(err)})
		return
	}
	if err := in.send(ctx, &handoff.Taken{Seq: offer.Seq}); err != nil {
		in.unsure = append(in.unsure, t)
		return
	}
	go in.call(t) // ends with the function
}

func (in *incoming) send(ctx context.Context, answer handoff.Message) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	return in.link.Send(ctx, answer)
}

// redirect has the older generation offer over another link. One that does not listen any more has ended.
func (in *incoming) redirect(ctx context.Context, to *handoff.Link) {
	in.sending.Lock()
	defer in.sending.Unlock()
	_ = in.link.SendWith(ctx, &handoff.Redirect{}, to)
}

func (in *incoming) hasEnded() bool { return in.ended.Load() }

func (in *incoming) close() {
	in.ended.Store(true)
	_ = in.link.Close()
}

// open makes a connection of the file, which it takes, and begins a call.
func (in *incoming) open(offer *handoff.Offer, file *os.File) (taking, error) {
	if file == nil {
		return taking{}, errors.New("no descriptor has come: the new process may have too many open")
	}
	t, err := in.takers.begin(offer.Name)
	if err != nil {
		return taking{}, errors.Join(err, file.Close())
	}
	c, err := fds.OpenConn(file)
	if err != nil {
		in.takers.end(t)
	}
	return taking{t, c, []byte(offer.State)}, err
}

func (in *incoming) call(t taking) {
	defer in.takers.end(t.taker)
	t.take(t.conn, t.state)
}

// drop leaves what was not taken for sure to the old process.
func (in *incoming) drop() {
	for _, t := range in.unsure {
		_ = t.conn.Close()
		in.takers.end(t.taker)
	}
	in.unsure = nil
}

// closeIncoming ends what was not received, since this process has never served.
func (m *Manager) closeIncoming() {
	for _, in := range m.incoming {
		in.close()
	}
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}
