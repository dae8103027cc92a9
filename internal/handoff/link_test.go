//go:build unix

package handoff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/test/helpertest"
)

// pair returns both ends of a link.
func pair(t testing.TB) (a, b *Link) {
	t.Helper()
	a, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(theirs.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		b, err = NewLink(os.NewFile(uintptr(fd), "link"))
	}
	if err := errors.Join(err, theirs.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// within returns a context that ends only if a test waits in vain.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute,
		errors.New("the test waited in vain"))
	t.Cleanup(cancel)
	return ctx
}

// write sends bytes, which need not be a message.
func write(t *testing.T, l *Link, b []byte) {
	t.Helper()
	_, err := l.conn.Write(b)
	must(t, err)
}

func frame(t *testing.T, m Message) []byte {
	t.Helper()
	b, err := encode(m)
	must(t, err)
	return b
}

func wantMessage(t *testing.T, l *Link, want Message) {
	t.Helper()
	if got, err := l.Receive(within(t)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestConversation(t *testing.T) {
	a, b := pair(t)
	for _, m := range messages() {
		must(t, a.Send(within(t), m))
		wantMessage(t, b, m)
		must(t, b.Send(within(t), m))
		wantMessage(t, a, m)
	}
}

func TestReceiveMessagesThatCameTogether(t *testing.T) {
	a, b := pair(t)
	for _, m := range messages() {
		must(t, a.Send(within(t), m))
	}
	must(t, a.Close())
	for _, m := range messages() {
		wantMessage(t, b, m)
	}
	if m, err := b.Receive(within(t)); err != io.EOF {
		t.Errorf("at the end: %+v, %v; want io.EOF", m, err)
	}
}

func TestReceiveMessageInSmallPieces(t *testing.T) {
	a, b := pair(t)
	done := make(chan error, 1)
	go func() { // ends when all is written
		var err error
		for _, piece := range frame(t, hello()) {
			_, e := a.conn.Write([]byte{piece})
			err = errors.Join(err, e)
		}
		done <- err
	}()
	wantMessage(t, b, hello())
	must(t, <-done)
}

// A successor may inherit thousands of sockets.
func TestLargeHello(t *testing.T) {
	a, b := pair(t)
	want := hello()
	for i := range 10_000 {
		want.Sockets = append(want.Sockets, fds.Record{
			Name: fmt.Sprintf("socket-%d", i), Network: "tcp",
			Address: "[2001:db8::1234:5678]:65535", Ordinal: i,
		})
	}
	sent := make(chan error, 1)
	go func() { sent <- a.Send(within(t), want) }() // ends when the other side has read
	wantMessage(t, b, want)
	must(t, <-sent)
	must(t, a.Send(within(t), &Commit{}))
	wantMessage(t, b, &Commit{})
}

func TestSendOfTooLargeMessageSendsNothing(t *testing.T) {
	a, b := pair(t)
	err := a.Send(within(t), &Failed{Reason: string(make([]byte, maxMessage+1))})
	if !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v, want ErrProtocol", err)
	}
	must(t, a.Send(within(t), &Ready{}))
	wantMessage(t, b, &Ready{})
}

// A process that dies in the middle of a message has ended, at whichever byte.
func TestReceiveTruncatedMessage(t *testing.T) {
	whole := frame(t, &Failed{Reason: "no"})
	for n := range whole {
		a, b := pair(t)
		write(t, a, whole[:n])
		must(t, a.Close())
		for range 2 { // the end stays
			m, err := b.Receive(within(t))
			if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) != (n > 0) {
				t.Errorf("after %d bytes of %d: %+v, %v", n, len(whole), m, err)
			}
		}
		must(t, b.Close())
	}
}

// The kernel reports a reset if a process ends with unread bytes.
func TestReceiveFromProcessThatEndedWithUnreadBytes(t *testing.T) {
	a, b := pair(t)
	must(t, b.Send(within(t), &Ready{}))
	must(t, a.Close())
	if m, err := b.Receive(within(t)); err != io.EOF {
		t.Errorf("got %+v, %v; want io.EOF", m, err)
	}
}

func TestReceiveBadFrames(t *testing.T) {
	for _, tt := range badFrames {
		a, b := pair(t)
		write(t, a, append(bytes.Clone(tt.frame), make([]byte, headerLen)...))
		if m, err := b.Receive(within(t)); !errors.Is(err, ErrProtocol) || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %+v, %v; want ErrProtocol", tt.what, m, err)
		}
		must(t, errors.Join(a.Close(), b.Close()))
	}
}

// Memory grows with the bytes read, not with the length in a header.
func TestReceiveTrustsNoHeader(t *testing.T) {
	a, b := pair(t)
	write(t, a, []byte{1, 0, 0, 1, 'H', 1, 1, 2})
	if took := memory(func() { cancelOnceRead(t, b, receive) }); took > 1<<20 {
		t.Errorf("8 bytes that promise 16 MB take %d bytes of memory", took)
	}
}

// memory returns how many bytes a function allocates.
func memory(use func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	use()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func receive(ctx context.Context, l *Link) error {
	_, err := l.Receive(ctx)
	return err
}

// cancelOnceRead ends the context of receive when it has read everything that was written.
func cancelOnceRead(t *testing.T, l *Link, receive func(context.Context, *Link) error) {
	t.Helper()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan error, 1)
	go func() { result <- receive(ctx, l) }() // ends with ctx
	helpertest.Eventually(t, "everything is read", func() bool { return !unread(t, l) })
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

// unread reports whether the socket has unread bytes.
func unread(t *testing.T, l *Link) bool {
	t.Helper()
	n := 0
	err := fds.Control(l.conn, func(fd int) (err error) {
		n, _, err = unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err
	})
	if !errors.Is(err, unix.EAGAIN) {
		must(t, err)
	}
	return err == nil && n > 0
}

func TestReceiveKeepsPartOfMessageWhenCancelled(t *testing.T) {
	whole := frame(t, hello())
	for _, n := range []int{0, 1, headerLen, headerLen + 1, len(whole) - 1} {
		a, b := pair(t)
		write(t, a, whole[:n])
		cancelOnceRead(t, b, receive)
		cancelOnceRead(t, b, receive)
		write(t, a, whole[n:])
		must(t, a.Send(within(t), &Commit{}))
		wantMessage(t, b, hello())
		wantMessage(t, b, &Commit{})
		must(t, errors.Join(a.Close(), b.Close()))
	}
}

// After its context has ended, neither side sends or receives: otherwise a Ready could be sent that
// no longer holds.
func TestEndedContextSendsAndReceivesNothing(t *testing.T) {
	a, b := pair(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := a.Send(ctx, &Ready{}); !errors.Is(err, cause) {
		t.Errorf("send: got %v, want the context's cause", err)
	}
	must(t, a.Send(within(t), &Commit{}))
	if m, err := b.Receive(ctx); !errors.Is(err, cause) {
		t.Errorf("receive: got %+v, %v; want the context's cause", m, err)
	}
	wantMessage(t, b, &Commit{})
}

// If nobody reads and the kernel's buffer is full, the time limit of an upgrade still holds.
func TestSendThatIsBlockedEndsWithContext(t *testing.T) {
	a, b := pair(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	large := hello()
	for range 100_000 {
		r := fds.Record{Name: "name", Network: "tcp", Address: "[2001:db8::1234:5678]:65535"}
		large.Sockets = append(large.Sockets, r)
	}
	result := make(chan error, 1)
	go func() { result <- a.Send(ctx, large) }() // ends with ctx
	helpertest.Eventually(t, "something can be read", func() bool { return unread(t, b) })
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestSendToProcessThatHasEnded(t *testing.T) {
	a, b := pair(t)
	must(t, b.Close())
	if err := a.Send(within(t), &Ready{}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want EPIPE", err)
	}
}

func TestCloseEndsReceive(t *testing.T) {
	a, _ := pair(t)
	result := make(chan error, 1)
	go func() { // ends with the link
		_, err := a.Receive(context.Background())
		result <- err
	}()
	must(t, a.Close())
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func TestSendAndReceiveAtOnce(t *testing.T) {
	a, b := pair(t)
	done := make(chan error, 2)
	chat := func(l *Link) { // ends after its last message
		var errs []error
		received := make(chan error, 1)
		go func() { // ends after the other side's last message
			for range 200 {
				if _, err := l.Receive(within(t)); err != nil {
					received <- err
					return
				}
			}
			received <- nil
		}()
		for range 200 {
			errs = append(errs, l.Send(within(t), hello()))
		}
		done <- errors.Join(append(errs, <-received)...)
	}
	go chat(a)
	go chat(b)
	must(t, errors.Join(<-done, <-done))
}

func FuzzReceive(f *testing.F) {
	var all []byte
	for _, m := range messages() {
		b, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		all = append(all, b...)
	}
	f.Add(all)
	f.Add([]byte{})
	for _, tt := range badFrames {
		f.Add(tt.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		theirs, ours := pair(t)
		written := make(chan struct{})
		go func() { // ends when all is written, or this side is closed
			defer close(written)
			_, _ = theirs.conn.Write(b)
			_ = theirs.Close()
		}()
		messages, err := 0, error(nil)
		for ; err == nil; messages++ {
			_, err = ours.Receive(within(t))
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrProtocol) {
			t.Errorf("%v matches neither io.EOF nor ErrProtocol", err)
		}
		if messages > 1+len(b)/headerLen {
			t.Errorf("%d bytes were %d messages", len(b), messages)
		}
		if got := cap(ours.buf); got > 2*len(b)+128<<10 {
			t.Errorf("%d bytes take %d", len(b), got)
		}
		_ = ours.Close()
		<-written
	})
}
