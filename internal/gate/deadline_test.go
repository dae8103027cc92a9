//go:build unix

package gate

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestDeadlineSetBeforeShut(t *testing.T) {
	forEachWay(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		at := time.Now().Add(5 * soon)
		must(t, s.SetDeadline(at))
		result := s.block()
		s.shut()
		err := within(t, result)
		if early := time.Until(at); !errors.Is(err, os.ErrDeadlineExceeded) || early > 0 {
			t.Errorf("the call returned %v, %v before its deadline", err, early)
		}
	})
}

func TestDeadlineSetAfterShut(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		result := s.block()
		s.shut()
		s.awaitWait()
		must(t, s.SetDeadline(longAgo))
		if err := within(t, result); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the wait ended with %v", err)
		}
	})
}

// packets is a packet connection of any kind.
type packets interface {
	net.PacketConn
	net.Conn
}

// However the user sets the deadlines, what goes past the gate finds the socket as Shut has left
// it.
func TestDeadlineSetAfterShutDoesNotArmTheSocket(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		s.gate.Open()
		s.shut()
		s.send()
		sets := []func(time.Time) error{s.SetDeadline}
		if pc, ok := s.gated.(packets); ok {
			sets = append(sets, pc.SetReadDeadline, pc.SetWriteDeadline)
		}
		for _, set := range sets {
			for _, at := range []time.Time{{}, time.Now().Add(time.Hour)} {
				must(t, set(at))
				if err := s.takePastTheGate(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after a deadline at %v, the system gives %v", at, err)
				}
			}
		}
	})
}

// takePastTheGate takes something from the socket itself.
func (s *subject) takePastTheGate() error {
	switch c := s.sock.Conn().(type) {
	case net.Listener:
		return accepts(c.Accept)()
	case net.PacketConn:
		_, _, err := c.ReadFrom(make([]byte, 100))
		return err
	}
	return errors.ErrUnsupported
}

func TestWritesAfterShut(t *testing.T) {
	forEach(t, func(t *testing.T, s *subject) {
		pc, ok := s.gated.(packets)
		if !ok {
			t.Skip("a listener does not write")
		}
		s.gate.Open()
		peer := newSubject(t, s.network, newOpen()).gated.(packets)
		write := func() error {
			_, err := pc.WriteTo([]byte("x"), peer.LocalAddr())
			return err
		}
		s.shut()
		must(t, write())
		for _, set := range []func(time.Time) error{pc.SetDeadline, pc.SetWriteDeadline} {
			must(t, set(longAgo))
			if err := write(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after its deadline a write returned %v", err)
			}
			must(t, set(time.Time{}))
			must(t, write())
		}
		must(t, pc.SetReadDeadline(longAgo))
		must(t, write())
		must(t, peer.SetReadDeadline(time.Now().Add(patience)))
		for range 4 {
			_, _, err := peer.ReadFrom(make([]byte, 100))
			must(t, err)
		}
	})
}
