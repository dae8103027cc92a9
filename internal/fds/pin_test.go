//go:build unix

package fds

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func pinConn(t *testing.T, c any) *Pin {
	t.Helper()
	p, err := PinConn(c.(syscall.Conn))
	must(t, err)
	t.Cleanup(p.Release)
	return p
}

func TestPinnedDescriptorOutlivesClose(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	p := pinConn(t, ln)
	closed := make(chan error, 1)
	go func() { closed <- ln.Close() }() // ends at Release
	helpertest.Eventually(t, "the listener is marked as closed", func() bool {
		late, err := PinConn(ln.(syscall.Conn))
		if err == nil {
			late.Release()
		}
		return errors.Is(err, net.ErrClosed)
	})
	if got := inspect(int(p.FD())).addressText(); got != ln.Addr().String() {
		t.Errorf("the pinned descriptor of %s is now %q", ln.Addr(), got)
	}
	select {
	case err := <-closed:
		t.Errorf("Close did not wait for the pin: %v", err)
	default:
	}
	p.Release()
	if helpertest.IsOpen(int(p.FD())) {
		t.Error("the descriptor is still open after Release")
	}
	must(t, <-closed)
}

func TestPinLeavesOpenDescriptorToItsOwner(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	pinConn(t, ln).Release()
	if !reaches(t, ln.Addr()) {
		t.Error("the listener no longer listens after its pin was released")
	}
}

func TestPinOfClosedConn(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	must(t, ln.Close())
	r, w, err := os.Pipe()
	must(t, errors.Join(err, r.Close(), w.Close()))
	tests := []struct {
		what string
		conn syscall.Conn
		want error // nil for any
	}{
		{"listener", ln.(syscall.Conn), net.ErrClosed},
		{"file", r, nil},
		{"nil listener", (*net.TCPListener)(nil), syscall.EINVAL},
	}
	for _, tt := range tests {
		p, err := PinConn(tt.conn)
		if p != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.what, p, err, tt.want)
		}
	}
	goleak.VerifyNone(t)
}

func TestReleaseTwice(t *testing.T) {
	p := pinConn(t, listenOn(t, "tcp", "127.0.0.1:0"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(p.Release)
	}
	wg.Wait()
	p.Release()
	goleak.VerifyNone(t)
}

// One connection can have several pins, and each of them keeps its descriptor.
func TestPinMany(t *testing.T) {
	const conns, pinsEach = 200, 3
	before := len(helpertest.OpenDescriptors())
	var want, got []uintptr
	var pins []*Pin
	for range conns {
		pc := listenPacketOn(t, "udp", "127.0.0.1:0")
		for range pinsEach {
			p := pinConn(t, pc)
			want, got = append(want, uintptr(fdOf(t, pc))), append(got, p.FD())
			pins = append(pins, p)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pinned are %v, want %v", got, want)
	}
	if now := len(helpertest.OpenDescriptors()); now != before+conns {
		t.Errorf("%d descriptors became %d for %d connections: a pin has none of its own",
			before, now, conns)
	}
	for _, p := range pins {
		p.Release()
	}
	goleak.VerifyNone(t)
}
