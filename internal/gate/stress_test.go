//go:build unix

package gate

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Who has taken something.
const (
	byOld  = 'o'
	byNext = 'n'
)

// handoff is an old process behind a gate and a successor without one, which share a socket, and
// clients of both.
type handoff struct {
	*subject
	isShut  atomic.Bool // Shut has returned
	servers sync.WaitGroup
	clients sync.WaitGroup
	before  atomic.Int64 // what the old process has taken, all of it sent before that
	after   atomic.Int64 // what the successor has taken that was sent after that
}

const (
	rounds        = 20
	clientsAtOnce = 4
	enoughAfter   = 40 // clients that come after Shut
)

// run shuts the gate in the middle of the load.
func (h *handoff) run(serveOld, serveNext, closeNext, client func() error) {
	h.t.Helper()
	h.gate.Open()
	for range clientsAtOnce {
		h.servers.Go(func() { h.until(net.ErrClosed, serveOld) })
		h.servers.Go(func() { h.until(net.ErrClosed, serveNext) })
		h.clients.Go(func() { h.until(io.EOF, client) })
	}
	awaitThat(h.t, "the old process takes something", func() bool { return h.before.Load() > 0 })
	h.shut()
	h.isShut.Store(true)
	h.clients.Wait()
	must(h.t, h.Close())
	must(h.t, closeNext())
	h.servers.Wait()
	if n := h.after.Load(); n < enoughAfter {
		h.t.Errorf("only %d clients have come after Shut", n)
	}
}

// until repeats a step until it ends by an error, which must be the one that is meant.
func (h *handoff) until(end error, step func() error) {
	for {
		err := step()
		if errors.Is(err, end) {
			return
		}
		if err != nil {
			h.t.Error(err)
			return
		}
	}
}

// taken notes what the old process has taken, and whether it had come after Shut.
func (h *handoff) taken(by byte, cameAfter bool) {
	switch {
	case by == byOld && cameAfter:
		h.t.Error("the old process has taken what came after Shut")
	case by == byOld:
		h.before.Add(1)
	case cameAfter:
		h.after.Add(1)
	}
}

// enough is the end of a client.
func (h *handoff) enough() error {
	if h.after.Load() >= enoughAfter || h.t.Failed() {
		return io.EOF
	}
	return nil
}

func TestNoConnectionIsAcceptedAfterShut(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			for range rounds {
				h := &handoff{subject: newSubject(t, network, New())}
				old := h.gated.(net.Listener)
				next := h.nextListener()
				h.run(
					func() error { return serve(old, byOld) },
					func() error { return serve(next, byNext) },
					next.Close, h.connect,
				)
			}
		})
	}
}

// nextListener is that of the successor.
func (s *subject) nextListener() net.Listener {
	s.t.Helper()
	f, err := s.File()
	must(s.t, err)
	defer f.Close()
	ln, err := net.FileListener(f)
	must(s.t, err)
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return ln
}

// serve says who has accepted.
func serve(ln net.Listener, who byte) error {
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte{who})
	return err
}

// connect asks who accepts.
func (h *handoff) connect() error {
	after := h.isShut.Load()
	addr := h.sock.Addr()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 1)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	h.taken(b[0], after)
	return h.enough()
}

// What a packet says: whether it was sent after Shut.
const (
	sentBefore = 'b'
	sentAfter  = 'a'
)

func TestNoPacketIsReadAfterShut(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			for range rounds {
				h := &handoff{subject: newSubject(t, network, New())}
				next := h.nextPacketConn()
				h.run(
					func() error { return h.read(h.gated.(net.Conn).Read, byOld) },
					func() error { return h.read(next.Read, byNext) },
					next.Close, h.write,
				)
			}
		})
	}
}

func (s *subject) nextPacketConn() net.Conn {
	s.t.Helper()
	f, err := s.File()
	must(s.t, err)
	defer f.Close()
	c, err := net.FilePacketConn(f)
	must(s.t, err)
	return c.(net.Conn)
}

func (h *handoff) read(read func([]byte) (int, error), who byte) error {
	b := make([]byte, 1)
	if _, err := read(b); err != nil {
		return err
	}
	h.taken(who, b[0] == sentAfter)
	return nil
}

func (h *handoff) write() error {
	what := byte(sentBefore)
	if h.isShut.Load() {
		what = sentAfter
	}
	c, err := net.Dial(h.sock.Addr().Network(), h.sock.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{what}); err != nil {
		return err
	}
	return h.enough()
}
