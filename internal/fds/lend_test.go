//go:build unix

package fds

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestLend(t *testing.T) {
	s := newSet(t)
	ours := []*Socket{
		open(t, s, "tcp", "127.0.0.1:0"), open(t, s, "udp", "127.0.0.1:0"),
		open(t, s, "unix", sockPath(t)),
	}
	before := helpertest.OpenDescriptors()
	l := borrow(t, s)
	if len(l.FDs) != len(ours) || len(l.Records) != len(ours) {
		t.Fatalf("lent are %d descriptors and %d records of %d sockets",
			len(l.FDs), len(l.Records), len(ours))
	}
	for _, sock := range ours { // in whatever order
		i := slices.Index(l.Records, sock.Record())
		if i < 0 || inspect(int(l.FDs[i])).addressText() != sock.Addr().String() {
			t.Errorf("%s is not lent, or under another's record: %v", sock.Addr(), l.Records)
		}
	}
	if now := helpertest.OpenDescriptors(); len(now) != len(before) {
		t.Errorf("%d descriptors became %d: each socket has one, which is lent",
			len(before), len(now))
	}
}

func TestLendNothing(t *testing.T) {
	if l := borrow(t, New()); len(l.FDs) != 0 || len(l.Records) != 0 {
		t.Errorf("a Set without sockets lends %v, %v", l.FDs, l.Records)
	}
}

// A service may have thousands of sockets. Only bare ones need a goroutine each.
func TestLendMany(t *testing.T) {
	for _, bare := range []bool{false, true} {
		s := newSet(t)
		const n = 500
		for range n {
			openAsk(t, s, Ask{Network: "udp", Address: "127.0.0.1:0", Bare: bare})
		}
		before := runtime.NumGoroutine()
		l := borrow(t, s)
		if started := runtime.NumGoroutine() - before; !bare && started > 0 {
			t.Errorf("%d goroutines hold sockets that a lock holds already", started)
		}
		slices.Sort(l.FDs)
		if distinct := slices.Compact(l.FDs); len(distinct) != n {
			t.Errorf("bare %t: lent are %d descriptors of %d", bare, len(distinct), n)
		}
		l.Release()
		l.Release()
		goleak.VerifyNone(t)
	}
}

// A loan also ends if a socket is closed meanwhile.
func TestReleaseAfterClose(t *testing.T) {
	for _, tt := range endings {
		s := newSet(t)
		socks := []*Socket{openAny(t, s, tt.bare), openAny(t, s, tt.bare)}
		l := borrow(t, s)
		closed := make(chan error, 1)
		go func() { closed <- tt.end(socks[0]) }() // ends with the loan
		l.Release()
		must(t, <-closed)
		s.TakeBack()
		if got := lend(t, s); !slices.Equal(got, []Record{socks[1].Record()}) {
			t.Errorf("%s: the next loan has %v", tt.what, got)
		}
	}
}

// The mode belongs to the socket, not to the descriptor. If a successor or a loan changed it,
// Accept would block a thread of every process that has the socket.
func TestLendKeepsNonblockingMode(t *testing.T) {
	s := newSet(t)
	sock := open(t, s, "tcp", "127.0.0.1:0")
	pid, err := syscall.ForkExec("/bin/true", []string{"true"},
		&syscall.ProcAttr{Files: borrow(t, s).FDs})
	if err == nil {
		_, err = syscall.Wait4(pid, nil, 0, nil)
	}
	must(t, err)
	if !isNonblocking(t, fdOf(t, sock.Conn())) {
		t.Error("the socket is in blocking mode after it was lent")
	}
}

// A closed descriptor's number is used again at once, so the successor would get another file by
// it.
func TestLentDescriptorOutlivesItsSocket(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.what, func(t *testing.T) {
			s := newSet(t)
			sock := openAny(t, s, tt.bare)
			checkCloseDuringLoan(t, s, sock, func() error { return tt.end(sock) })
			s.TakeBack()
			if reaches(t, sock.Addr()) || len(lend(t, s)) != 0 {
				t.Error("the socket that was closed during the loan is still there")
			}
		})
	}
	t.Run("the set is closed", func(t *testing.T) {
		s := newSet(t)
		checkCloseDuringLoan(t, s, openAny(t, s, false), s.Close)
	})
}

// checkCloseDuringLoan closes the socket while it is lent, and looks for a while at its descriptor.
func checkCloseDuringLoan(t *testing.T, s *Set, sock *Socket, closeIt func() error) {
	t.Helper()
	closed := make(chan error, 1)
	l := borrow(t, s)
	go func() { closed <- closeIt() }() // ends when the loan does
	until := time.Now().Add(50 * time.Millisecond)
	for ; time.Now().Before(until); runtime.Gosched() {
		if got := inspect(int(l.FDs[0])).addressText(); got != sock.Addr().String() {
			t.Errorf("the lent descriptor of %s is now %q", sock.Addr(), got)
			break
		}
	}
	l.Release()
	must(t, <-closed)
}

// No lent descriptor has a number that another one gets in the child. So starting a child with
// thousands of sockets needs no second descriptor for each.
func TestLentDescriptorsNeedNotBeMoved(t *testing.T) {
	s := newSet(t)
	var gaps []*Socket
	for i := range 100 {
		if sock := openAny(t, s, i%2 == 0); i%3 == 0 {
			gaps = append(gaps, sock)
		}
	}
	for _, sock := range gaps {
		must(t, sock.Close())
	}
	for range 10 {
		openAny(t, s, false)
	}
	lent := borrow(t, s).FDs
	for i, fd := range lent {
		if int(fd) != First+i && int(fd) < First+len(lent) {
			t.Errorf("descriptor %d is to be the child's %d", fd, First+i)
		}
	}
}

// opening starts an Open and returns a channel for its result.
func opening(ctx context.Context, s *Set) <-chan error {
	result := make(chan error, 1)
	go func() { // ends with Open
		_, err := s.Open(ctx, Ask{Network: "tcp", Address: "127.0.0.1:0"})
		result <- err
	}()
	return result
}

func TestOpenWaitsWhileLent(t *testing.T) {
	tests := []struct {
		what string
		end  func(*Set)
		want error
	}{
		{"taken back", (*Set).TakeBack, nil},
		{"handed over", (*Set).HandOver, ErrHandedOver},
		{"closed", func(s *Set) { _ = s.Close() }, ErrClosed},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			s := New()
			borrow(t, s).Release()
			results := []<-chan error{opening(t.Context(), s), opening(t.Context(), s)}
			synctest.Wait()
			for _, result := range results {
				select {
				case err := <-result:
					t.Errorf("%s: Open did not wait: %v", tt.what, err)
				default:
				}
			}
			tt.end(s)
			for _, result := range results {
				if err := <-result; !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", tt.what, err, tt.want)
				}
			}
			must(t, s.Close())
		})
	}
}

func TestOpenWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		defer s.Close()
		borrow(t, s).Release()
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		result := opening(ctx, s)
		synctest.Wait()
		cancel(cause)
		if err := <-result; !errors.Is(err, cause) {
			t.Errorf("got %v, want the context's cause", err)
		}
		s.TakeBack()
		if sock := open(t, s, "tcp", "127.0.0.1:0"); sock.Record().Ordinal != 0 {
			t.Errorf("the Open that was given up keeps its ordinal: the next has %d",
				sock.Record().Ordinal)
		}
	})
}

// An Open that began before the loan is not part of it, so its socket must not appear before the
// loan has ended.
func TestOpenThatIsOvertakenByLoan(t *testing.T) {
	tests := []struct {
		what string
		end  func(*Set)
		want error
		left int // sockets afterwards
	}{
		{"taken back", (*Set).TakeBack, nil, 1},
		{"handed over", (*Set).HandOver, ErrHandedOver, 0},
	}
	for _, tt := range tests {
		s := newSet(t)
		path := sockPath(t)
		bindingNow, goOn := make(chan struct{}), make(chan struct{})
		slow := net.ListenConfig{Control: func(string, string, syscall.RawConn) error {
			close(bindingNow)
			<-goOn
			return nil
		}}
		result := make(chan error, 1)
		go func() { // ends with Open
			_, err := s.Open(context.Background(),
				Ask{Network: "unix", Address: path, Config: slow})
			result <- err
		}()
		<-bindingNow
		l := borrow(t, s)
		if len(l.FDs) != 0 {
			t.Errorf("%s: a socket that is not bound yet was lent", tt.what)
		}
		l.Release()
		close(goOn)
		helpertest.Eventually(t, "the socket is bound", func() bool { return exists(path) })
		if got := len(s.Sockets()); got != 0 {
			t.Errorf("%s: %d sockets during the loan", tt.what, got)
		}
		tt.end(s)
		if err := <-result; !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.what, err, tt.want)
		}
		if got := len(s.Sockets()); got != tt.left || exists(path) != (tt.left > 0) {
			t.Errorf("%s: %d sockets, path exists: %t", tt.what, got, exists(path))
		}
	}
}

func TestHandOver(t *testing.T) {
	s := newSet(t)
	sock := open(t, s, "tcp", "127.0.0.1:0")
	l := borrow(t, s)
	inherited := dup(t, int(l.FDs[0])) // what the successor has
	l.Release()
	defer unix.Close(inherited)
	s.HandOver()
	_, err := s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
	if !errors.Is(err, ErrHandedOver) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("open afterwards: %v", err)
	}
	s.TakeBack()
	_, err = s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
	if !errors.Is(err, ErrHandedOver) {
		t.Errorf("a Set that was handed over was taken back: %v", err)
	}
	must(t, s.Close())
	if !reaches(t, sock.Addr()) {
		t.Error("the successor's socket no longer listens")
	}
	_, err = s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("open after Close: %v", err)
	}
}

// Upgrade and Shutdown may cross. Sockets that are gone cannot be lent and must not come back.
func TestLendAfterEnd(t *testing.T) {
	tests := []struct {
		what string
		end  func(*Set)
		want error
	}{
		{"closed", func(s *Set) { _ = s.Close() }, ErrClosed},
		{"handed over", func(s *Set) { borrow(t, s).Release(); s.HandOver() }, ErrHandedOver},
	}
	for _, tt := range tests {
		s := newSet(t)
		tt.end(s)
		if l, err := s.Lend(); l != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: Lend returns %v, %v, want %v", tt.what, l, err, tt.want)
		}
		s.TakeBack()
		_, err := s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s, lent and taken back: Open returns %v, want %v", tt.what, err, tt.want)
		}
	}
}

// A failed upgrade may be followed by another one.
func TestLendAgain(t *testing.T) {
	s := newSet(t)
	open(t, s, "tcp", "127.0.0.1:0")
	for range 3 {
		if got := lend(t, s); len(got) != 1 {
			t.Errorf("lent are %v", got)
		}
	}
	open(t, s, "tcp", "127.0.0.1:0")
	if got := lend(t, s); len(got) != 2 {
		t.Errorf("lent are %v", got)
	}
}
