package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/test/helpertest"
)

// parcel is a pipe whose write end is passed. Bytes written to it identify it, and its end shows
// that all copies are closed.
type parcel struct{ r, w *os.File }

func newParcel(t testing.TB) parcel {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return parcel{r, w}
}

// isAt asserts that the file is the passed end and close-on-exec. It closes the file, and there
// must be no other copy then.
func (p parcel) isAt(t testing.TB, f *os.File) {
	t.Helper()
	if f == nil {
		t.Error("no descriptor came")
		return
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil ||
		flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the descriptor has the flags %b, %v: children inherit it", flags, err)
	}
	_, err := f.WriteString("it")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
	p.holds(t, "it")
}

// isGone asserts that there is no copy except the sender's.
func (p parcel) isGone(t testing.TB) {
	t.Helper()
	p.holds(t, "")
}

func (p parcel) holds(t testing.TB, want string) {
	t.Helper()
	_ = p.w.Close()
	_ = p.r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(p.r); err != nil || string(got) != want {
		t.Errorf("the passed pipe has %q, %v, want %q", got, err, want)
	}
}

// wantOffer receives an offer, and returns the descriptor that came with it, or nil.
func wantOffer(t *testing.T, l *Link, want *Offers) *os.File {
	t.Helper()
	got, files, err := l.ReceiveWith(within(t))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %.100v, %v; want %.100v", fmt.Sprint(got), err, fmt.Sprint(want))
	}
	return append(files, nil)[0]
}

// sendWith sends a message with the passed end.
func sendWith(ctx context.Context, l *Link, m Message, p parcel) error {
	return fds.Control(p.w, func(fd int) error { return l.SendWith(ctx, m, fd) })
}

// offers returns messages of all sizes. Every third one is sent without a descriptor.
func offers() (all []*Offers) {
	sizes := []int{0, 1, 3, 1 << 10, 5, MaxTransferState, 7, 0, 9, 20 << 10, 48 << 10, 0}
	for i, size := range sizes {
		offer := Offer{Name: fmt.Sprint("chat ", i), State: strings.Repeat("s", size)}
		all = append(all, &Offers{Offers: []Offer{offer}})
	}
	return all
}

func TestDescriptorComesWithItsMessage(t *testing.T) {
	a, b := pair(t)
	parcels := make([]parcel, len(offers()))
	sent := make(chan error, 1)
	for i := range parcels {
		parcels[i] = newParcel(t)
	}
	go func() { // ends when the other side has read
		var errs []error
		for i, o := range offers() {
			if i%3 == 2 {
				errs = append(errs, a.Send(within(t), o))
			} else {
				errs = append(errs, sendWith(within(t), a, o, parcels[i]))
			}
		}
		sent <- errors.Join(errs...)
	}()
	for i, o := range offers() {
		if i == 4 {
			// some came together
			helpertest.Eventually(t, "something can be read", func() bool { return unread(t, b) })
		}
		if f := wantOffer(t, b, o); i%3 == 2 && f != nil {
			t.Errorf("message %d came with a descriptor", i)
		} else if i%3 != 2 {
			parcels[i].isAt(t, f)
		}
	}
	must(t, <-sent)
}

func TestDescriptorOfMessageInSmallPieces(t *testing.T) {
	a, b := pair(t)
	p, next := newParcel(t), newParcel(t)
	whole := frame(t, offers()[2])
	done := make(chan error, 1)
	go func() { // ends when all is written
		_, _, err := a.conn.WriteMsgUnix(whole[:1], unix.UnixRights(int(p.w.Fd())), nil)
		for _, piece := range whole[1:] {
			_, e := a.conn.Write([]byte{piece})
			err = errors.Join(err, e)
		}
		done <- errors.Join(err, sendWith(within(t), a, offers()[3], next))
	}()
	p.isAt(t, wantOffer(t, b, offers()[2]))
	next.isAt(t, wantOffer(t, b, offers()[3]))
	must(t, <-done)
}

// A process that cannot open more descriptors loses that of a message, and does not mistake another
// for it.
func TestLostDescriptor(t *testing.T) {
	a, b := pair(t)
	var parcels []parcel
	for _, o := range offers()[:3] {
		p := newParcel(t)
		must(t, sendWith(within(t), a, o, p))
		parcels = append(parcels, p)
	}
	parcels[0].isAt(t, wantOffer(t, b, offers()[0]))
	restore := openNoMore(t)
	f := wantOffer(t, b, offers()[1])
	restore()
	if f != nil {
		t.Errorf("there was room for %s", f.Name())
		_ = f.Close()
	}
	parcels[1].isGone(t)
	parcels[2].isAt(t, wantOffer(t, b, offers()[2]))
}

// openNoMore lowers the limit on descriptors to the number of open ones.
func openNoMore(t *testing.T) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	lowered := limit
	for lowered.Cur = 0; helpertest.IsOpen(int(lowered.Cur)); lowered.Cur++ {
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lowered))
	restore = func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }
	t.Cleanup(restore)
	return restore
}

// manyOffers returns a message of as many offers as one may have, and their descriptors.
func manyOffers(t *testing.T) (m *Offers, parcels []parcel, numbers []int) {
	t.Helper()
	m = &Offers{}
	for i := range MaxOffers {
		m.Offers = append(m.Offers, Offer{Name: fmt.Sprint("chat ", i)})
		p := newParcel(t)
		parcels, numbers = append(parcels, p), append(numbers, int(p.w.Fd()))
	}
	return m, parcels, numbers
}

func TestDescriptorsComeInOrder(t *testing.T) {
	a, b := pair(t)
	want, parcels, numbers := manyOffers(t)
	must(t, a.SendWith(within(t), want, numbers...))
	got, files, err := b.ReceiveWith(within(t))
	if err != nil || !reflect.DeepEqual(got, want) || len(files) != MaxOffers {
		t.Fatalf("got %v with %d descriptors, %v", got, len(files), err)
	}
	for i, p := range parcels {
		p.isAt(t, files[i])
	}
}

// A process that can open only some of the descriptors of a message gets the first ones.
func TestLostDescriptorsAreTheLast(t *testing.T) {
	a, b := pair(t)
	m, parcels, numbers := manyOffers(t)
	must(t, a.SendWith(within(t), m, numbers...))
	const room = 5
	var held []*os.File
	for range room {
		held = append(held, helpertest.OpenFile(t, os.DevNull))
	}
	restore := openNoMore(t)
	for _, f := range held {
		must(t, f.Close())
	}
	_, files, err := b.ReceiveWith(within(t))
	restore()
	must(t, err)
	if len(files) != room {
		t.Fatalf("got %d descriptors, and there was room for %d", len(files), room)
	}
	for i, p := range parcels {
		if i < room {
			p.isAt(t, files[i])
		} else {
			p.isGone(t)
		}
	}
}

// A message with more descriptors than offers is an error, and none of them stays open.
func TestTooManyDescriptorsWithOneMessage(t *testing.T) {
	for _, n := range []int{2, 4, 5, 100} {
		a, b := pair(t)
		p := newParcel(t)
		rights := make([]int, n)
		for i := range rights {
			rights[i] = int(p.w.Fd())
		}
		_, _, err := a.conn.WriteMsgUnix(frame(t, offers()[2]), unix.UnixRights(rights...), nil)
		must(t, err)
		if m, f, err := b.ReceiveWith(within(t)); !errors.Is(err, ErrProtocol) || f != nil {
			t.Errorf("%d descriptors: got %v, %v, %v; want ErrProtocol", n, m, f, err)
		}
		p.isGone(t)
	}
}

// A descriptor in the middle of a message belongs to none.
func TestDescriptorWithinMessage(t *testing.T) {
	a, b := pair(t)
	p := newParcel(t)
	whole := frame(t, offers()[3])
	write(t, a, whole[:100])
	_, _, err := a.conn.WriteMsgUnix(whole[100:], unix.UnixRights(int(p.w.Fd())), nil)
	must(t, err)
	if f := wantOffer(t, b, offers()[3]); f != nil {
		t.Error("it was mistaken for the message's")
		_ = f.Close()
	}
	p.isGone(t)
}

func TestReceiveWithTruncatedMessage(t *testing.T) {
	whole := frame(t, offers()[2])
	for n := range whole {
		a, b := pair(t)
		p := newParcel(t)
		if n > 0 {
			_, _, err := a.conn.WriteMsgUnix(whole[:n], unix.UnixRights(int(p.w.Fd())), nil)
			must(t, err)
		}
		must(t, b.Send(within(t), &Answers{})) // unread: the kernel then reports a reset
		must(t, a.Close())
		m, f, err := b.ReceiveWith(within(t))
		if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) != (n > 0) || f != nil {
			t.Errorf("after %d bytes of %d: %v, %v, %v", n, len(whole), m, f, err)
		}
		if n == 0 && err != io.EOF {
			t.Errorf("a clean end is %v", err)
		}
		p.isGone(t)
		must(t, b.Close())
	}
}

func TestReceiveWithBadFrames(t *testing.T) {
	for _, tt := range badFrames {
		a, b := pair(t)
		p := newParcel(t)
		sent := append(slices.Clip(tt.frame), make([]byte, headerLen)...)
		_, _, err := a.conn.WriteMsgUnix(sent, unix.UnixRights(int(p.w.Fd())), nil)
		must(t, err)
		if m, f, err := b.ReceiveWith(within(t)); !errors.Is(err, ErrProtocol) ||
			errors.Is(err, io.EOF) || f != nil {
			t.Errorf("%s: got %+v, %v, %v; want ErrProtocol", tt.what, m, f, err)
		}
		p.isGone(t)
		must(t, errors.Join(a.Close(), b.Close()))
	}
}

// After its context has ended, neither side sends or receives; one that ends meanwhile leaves
// nothing open.
func TestTransferEndsWithContext(t *testing.T) {
	a, b := pair(t)
	p := newParcel(t)
	cause := errors.New("enough")
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := sendWith(ended, a, offers()[2], p); !errors.Is(err, cause) {
		t.Errorf("send: got %v, want the context's cause", err)
	}
	must(t, a.Send(within(t), offers()[0]))
	if m, _, err := b.ReceiveWith(ended); !errors.Is(err, cause) {
		t.Errorf("receive: got %v, %v; want the context's cause", m, err)
	}
	if f := wantOffer(t, b, offers()[0]); f != nil {
		t.Error("a descriptor came that was not sent")
	}
	for _, n := range []int{0, 3, headerLen + 1} {
		if n > 0 {
			_, _, err := a.conn.WriteMsgUnix(frame(t, offers()[2])[:n],
				unix.UnixRights(int(p.w.Fd())), nil)
			must(t, err)
		}
		cancelOnceRead(t, b, receiveWith)
	}
	p.isGone(t)
}

func receiveWith(ctx context.Context, l *Link) error {
	_, files, err := l.ReceiveWith(ctx)
	if files != nil {
		err = errors.Join(errors.New("a descriptor came"), CloseAll(files))
	}
	return err
}

// Memory grows with the bytes read, not with the length in a header.
func TestReceiveWithTrustsNoHeader(t *testing.T) {
	for _, header := range []string{
		"\x01\x00\x00\x01H", "\x01\x00\x00\x01C", "\x01\x00\x00\x01D", "\x00\x01\x30\x01M",
	} {
		a, b := pair(t)
		write(t, a, []byte(header+"\x01"))
		if took := memory(func() { cancelOnceRead(t, b, receiveWith) }); took > 1<<20 {
			t.Errorf("a byte after the header %q takes %d bytes of memory", header, took)
		}
	}
}

// A message that is longer than those of transfers arrives whole, and so does the next one.
func TestReceiveWithLongMessage(t *testing.T) {
	a, b := pair(t)
	want := &Drained{Error: strings.Repeat("e", maxLong-100)}
	sent := make(chan error, 1)
	go func() { // ends when the other side has read
		sent <- errors.Join(a.Send(within(t), want), a.Send(within(t), &Revoked{}))
	}()
	for _, want := range []Message{want, &Revoked{}} {
		if got, f, err := b.ReceiveWith(within(t)); err != nil || f != nil ||
			!reflect.DeepEqual(got, want) {
			t.Errorf("got %.100v, %v, %v; want %.100v", fmt.Sprint(got), f, err, fmt.Sprint(want))
		}
	}
	must(t, <-sent)
}

// Memory for a message of a transfer is allocated once, however long it is.
func TestReceiveWithTakesMemoryOnce(t *testing.T) {
	a, b := pair(t)
	allocations := func(size int) float64 {
		m := &Offers{Offers: []Offer{{State: strings.Repeat("s", size)}}}
		return testing.AllocsPerRun(100, func() {
			must(t, a.Send(t.Context(), m))
			must(t, receiveWith(t.Context(), b))
		})
	}
	if short, long := allocations(1<<10), allocations(MaxTransferState); long > short {
		t.Errorf("a short message takes %v allocations, and a long one %v", short, long)
	}
}

// Messages sent before CloseRead arrive, and none can be sent after it, so both sides agree.
func TestCloseRead(t *testing.T) {
	a, b := pair(t)
	p := newParcel(t)
	must(t, sendWith(within(t), a, offers()[0], p))
	must(t, a.Send(within(t), offers()[1]))
	b.CloseRead()
	if err := a.Send(within(t), offers()[2]); !errors.Is(err, unix.EPIPE) {
		t.Errorf("after it: got %v, want EPIPE", err)
	}
	p.isAt(t, wantOffer(t, b, offers()[0]))
	wantOffer(t, b, offers()[1])
	if m, _, err := b.ReceiveWith(within(t)); err != io.EOF {
		t.Errorf("at the end: %+v, %v; want io.EOF", m, err)
	}
	must(t, b.Send(within(t), &Revoked{})) // the other direction stays
	wantMessage(t, a, &Revoked{})
}

// Nothing can follow a message that was not sent whole: its bytes would be mistaken for the rest.
func TestNothingFollowsPartOfMessage(t *testing.T) {
	a, b := pair(t)
	p := newParcel(t)
	_, err := a.setRoom(8 << 10)
	must(t, err)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan error, 1)
	go func() { result <- sendWith(ctx, a, offers()[5], p) }() // ends with ctx
	helpertest.Eventually(t, "something can be read", func() bool { return unread(t, b) })
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
	for what, err := range map[string]error{
		"SendWith": sendWith(within(t), a, offers()[0], p),
		"Send":     a.Send(within(t), &Revoked{}),
		"Queue":    a.Queue(&Revoked{}),
	} {
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	must(t, a.Close())
	if m, _, err := b.ReceiveWith(within(t)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("then: %v, %v; want an end in the middle of a message", m, err)
	}
	p.isGone(t)
}
