//go:build unix

package handoff

import (
	"errors"
	"io"
	"net"
	"testing"
)

// A process that has ended may have left its end to a child. Its last messages must be received
// without waiting for more.
func TestStopWaiting(t *testing.T) {
	a, b := pair(t)
	must(t, a.Send(within(t), &Serving{}))
	must(t, a.Send(within(t), &Drained{Error: "late"}))
	b.StopWaiting()
	wantMessage(t, b, &Serving{})
	wantMessage(t, b, &Drained{Error: "late"})
	for range 2 {
		if m, err := b.Receive(within(t)); err != io.EOF {
			t.Errorf("at the end: %+v, %v; want io.EOF", m, err)
		}
	}
	must(t, b.Send(within(t), &Abort{})) // the other direction stays
	wantMessage(t, a, &Abort{})
}

// Shutting the socket down would drop received bytes on some systems, and the other side would
// notice it on all.
func TestStopWaitingLeavesTheSocketAsItIs(t *testing.T) {
	a, b := pair(t)
	b.StopWaiting()
	if m, err := b.Receive(within(t)); err != io.EOF {
		t.Errorf("got %+v, %v; want io.EOF", m, err)
	}
	must(t, a.Send(within(t), &Ready{}))
	wantMessage(t, b, &Ready{})
}

// The rest of a message is not waited for either, whether or not its beginning was read before.
func TestStopWaitingWithinMessage(t *testing.T) {
	for _, receiveBefore := range []bool{false, true} {
		a, b := pair(t)
		write(t, a, frame(t, hello())[:headerLen+1])
		if receiveBefore {
			cancelOnceRead(t, b, receive)
		}
		b.StopWaiting()
		if m, err := b.Receive(within(t)); !errors.Is(err, io.EOF) ||
			!errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %+v, %v; want io.ErrUnexpectedEOF", m, err)
		}
	}
}

func TestStopWaitingEndsReceive(t *testing.T) {
	for range 100 {
		_, b := pair(t)
		result := make(chan error, 1)
		go func() { result <- receive(within(t), b) }() // ends with StopWaiting
		b.StopWaiting()
		if err := <-result; err != io.EOF {
			t.Errorf("got %v, want io.EOF", err)
		}
		must(t, b.Close())
		if err := receive(within(t), b); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: got %v, want net.ErrClosed", err)
		}
	}
}
