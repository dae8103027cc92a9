//go:build linux

package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// faultySocket fails from the nth call on, so many times.
type faultySocket struct {
	Socket
	calls, nth, times int
	err               error
}

// makeFaulty puts a fault behind the next calls of a link.
func makeFaulty(l *Link, nth, times int, err error) *faultySocket {
	f := &faultySocket{nth: nth, times: times, err: err}
	l.Wrap(func(s Socket) Socket {
		f.Socket = s
		return f
	})
	return f
}

func (f *faultySocket) fault() error {
	f.calls++
	if f.calls >= f.nth && f.calls < f.nth+f.times {
		return f.err
	}
	return nil
}

func (f *faultySocket) Read(b []byte) (int, error) {
	if err := f.fault(); err != nil {
		return 0, err
	}
	return f.Socket.Read(b)
}

func (f *faultySocket) ReadNow(b []byte) (int, error) {
	if err := f.fault(); err != nil {
		return 0, err
	}
	return f.Socket.ReadNow(b)
}

func (f *faultySocket) ReadWith(b, oob []byte) (n, oobn int, err error) {
	if err := f.fault(); err != nil {
		return 0, 0, err
	}
	return f.Socket.ReadWith(b, oob)
}

func (f *faultySocket) Write(b []byte) (int, error) {
	if err := f.fault(); err != nil {
		return 0, err
	}
	return f.Socket.Write(b)
}

func (f *faultySocket) WriteNow(b []byte) (int, error) {
	if err := f.fault(); err != nil {
		return 0, err
	}
	return f.Socket.WriteNow(b)
}

func (f *faultySocket) WriteWith(b, oob []byte) (int, error) {
	if err := f.fault(); err != nil {
		return 0, err
	}
	return f.Socket.WriteWith(b, oob)
}

// receiveAny receives in one of the two ways.
func receiveAny(t *testing.T, l *Link, with bool) (m Message, err error) {
	if !with {
		return l.Receive(within(t))
	}
	m, files, err := l.ReceiveWith(within(t))
	return m, errors.Join(err, CloseAll(files))
}

// An error that passes changes nothing, whichever call it meets: no message is lost, repeated or
// damaged.
func TestErrorThatPasses(t *testing.T) {
	for _, with := range []bool{false, true} {
		for nth, met := 1, true; met; nth++ {
			a, b := pair(t)
			writes := makeFaulty(a, nth, 2, syscall.ENOBUFS)
			reads := makeFaulty(b, nth, 2, syscall.EIO)
			for i, m := range messages() {
				send := a.Send
				if i%2 == 0 {
					send = func(ctx context.Context, m Message) error { return a.SendWith(ctx, m) }
				}
				must(t, send(within(t), m))
				if got, err := receiveAny(t, b, with); err != nil || !reflect.DeepEqual(got, m) {
					t.Errorf("after error %d: %+v, %v; want %+v", nth, got, err, m)
				}
			}
			must(t, a.Queue(&Revoked{}))
			must(t, a.Close())
			if got, err := receiveAny(t, b, with); err != nil ||
				!reflect.DeepEqual(got, &Revoked{}) {
				t.Errorf("after error %d: %+v, %v; want Revoked", nth, got, err)
			}
			if m, err := receiveAny(t, b, with); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %+v, %v; want io.EOF", m, err)
			}
			must(t, b.Close())
			met = writes.calls >= nth || reads.calls >= nth
		}
	}
}

// An error that stays is not taken for the end of the other side, wherever in a message it begins.
func TestErrorThatStays(t *testing.T) {
	for _, with := range []bool{false, true} {
		for nth := 1; nth <= 2; nth++ {
			t.Run(fmt.Sprint(with, nth), func(t *testing.T) {
				t.Parallel()
				a, b := pair(t)
				makeFaulty(b, nth, 1<<20, syscall.EIO)
				must(t, a.Send(within(t), &Failed{Reason: "no"}))
				must(t, a.Close())
				var err error
				for range 2 {
					if err == nil {
						_, err = receiveAny(t, b, with)
					}
				}
				if !errors.Is(err, syscall.EIO) || IsEnd(err) {
					t.Errorf("got %v, want EIO", err)
				}
			})
		}
	}
	a, _ := pair(t)
	makeFaulty(a, 1, 1<<20, syscall.ENOBUFS)
	for what, err := range map[string]error{
		"Send":     a.Send(within(t), &Ready{}),
		"SendWith": a.SendWith(within(t), &Revoked{}),
		"Queue":    a.Queue(&Revoked{}),
	} {
		if !errors.Is(err, syscall.ENOBUFS) || IsEnd(err) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// Nothing is made of the rest of a message whose beginning was lost.
func TestNothingIsReceivedAfterALostPart(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	calls := makeFaulty(b, 2, 1<<20, syscall.EIO) // after the header
	must(t, a.Send(within(t), &Failed{Reason: "no"}))
	if _, err := receiveAny(t, b, true); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	calls.times = 0
	if m, err := receiveAny(t, b, true); !errors.Is(err, ErrProtocol) {
		t.Errorf("then: %+v, %v; want ErrProtocol", m, err)
	}
}

// late is a context whose time has run out, as it is after this process was stopped.
func late(t *testing.T) context.Context {
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(-time.Second), errLate)
	t.Cleanup(cancel)
	return ctx
}

var errLate = errors.New("the time has run out")

// What has arrived when the time runs out counts, and so does an end.
func TestReceiveLooksAtTheLinkBeforeTheClock(t *testing.T) {
	for range 100 { // whichever of the two the system notices first
		a, b := pair(t)
		must(t, a.Send(within(t), hello()))
		write(t, a, frame(t, &Serving{})[:2])
		if m, err := b.Receive(late(t)); err != nil || !reflect.DeepEqual(m, hello()) {
			t.Fatalf("got %+v, %v", m, err)
		}
		if m, err := b.Receive(late(t)); !errors.Is(err, errLate) {
			t.Fatalf("after that: %+v, %v; want the cause", m, err)
		}
		write(t, a, frame(t, &Serving{})[2:])
		must(t, a.Close())
		wantMessage(t, b, &Serving{})
		if m, err := b.Receive(late(t)); err != io.EOF {
			t.Fatalf("at the end: %+v, %v; want io.EOF", m, err)
		}
		must(t, b.Close())
	}
}

// A message that arrives while the time runs out counts too.
func TestReceiveAtTheEndOfTheTime(t *testing.T) {
	a, b := pair(t)
	makeSlow(b, func() { write(t, a, frame(t, &Serving{})) })
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errLate)
	defer cancel()
	if m, err := b.Receive(ctx); err != nil {
		t.Errorf("got %+v, %v", m, err)
	}
}

// slowSocket notices the end of a Read late.
type slowSocket struct {
	Socket
	meanwhile func()
}

func makeSlow(l *Link, meanwhile func()) {
	l.Wrap(func(s Socket) Socket { return slowSocket{s, meanwhile} })
}

func (s slowSocket) Read(b []byte) (int, error) {
	n, err := s.Socket.Read(b)
	s.meanwhile()
	return n, err
}

// The rest of a queued message goes on where a Flush has stopped.
func TestFlushGoesOn(t *testing.T) {
	a, b := pair(t)
	large := make([]byte, 1<<20)
	want := &Hello{Version: Version, Handoff: string(large)}
	must(t, a.Queue(want))
	for range 3 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errLate)
		if err := a.Flush(ctx); !errors.Is(err, errLate) {
			t.Errorf("without a reader: %v", err)
		}
		cancel()
		some := make([]byte, 40<<10)
		n, err := unix.Read(fdOf(t, b), some) // makes room
		must(t, err)
		b.buf = append(b.buf, some[:n]...)
	}
	sent := make(chan error, 1)
	go func() { sent <- a.Send(within(t), &Commit{}) }() // ends when the other side has read
	if got, err := b.Receive(within(t)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("received another %T, %v", got, err)
	}
	wantMessage(t, b, &Commit{})
	must(t, <-sent)
}
