//go:build unix

package fds

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// recorded returns a ListenConfig that notes for which sockets it was used.
func recorded(calls *[]string) net.ListenConfig {
	return net.ListenConfig{Control: func(network, address string, _ syscall.RawConn) error {
		*calls = append(*calls, network+" "+address)
		return nil
	}}
}

func TestOpenBinds(t *testing.T) {
	dir := sockDir(t)
	tests := []struct {
		network, address string
		control          string
		conn             Conn
	}{
		{"tcp", "127.0.0.1:0", "tcp4 127.0.0.1:0", new(net.TCPListener)},
		{"tcp4", "127.0.0.1:0", "tcp4 127.0.0.1:0", new(net.TCPListener)},
		{"udp", "127.0.0.1:0", "udp4 127.0.0.1:0", new(net.UDPConn)},
		{"unix", dir + "/s", "unix " + dir + "/s", new(net.UnixListener)},
		{"unixgram", dir + "/d", "unixgram " + dir + "/d", new(net.UnixConn)},
	}
	for _, tt := range tests {
		s := newSet(t)
		var calls []string
		before := len(helpertest.OpenDescriptors())
		ask := Ask{Network: tt.network, Address: tt.address, Name: "it", Config: recorded(&calls)}
		sock := openAsk(t, s, ask)
		if reflect.TypeOf(sock.Conn()) != reflect.TypeOf(tt.conn) || sock.Inherited() {
			t.Errorf("%s: got a %T, inherited %t", ask, sock.Conn(), sock.Inherited())
		}
		want := (Record{Name: "it", Network: tt.network, Address: tt.address})
		if sock.Record().plain() != want {
			t.Errorf("%s: got the record %+v", ask, sock.Record())
		}
		if !slices.Equal(calls, []string{tt.control}) {
			t.Errorf("%s: Control was called for %q", ask, calls)
		}
		if now := len(helpertest.OpenDescriptors()); now != before+1 {
			t.Errorf("%s: a socket costs %d descriptors", ask, now-before)
		}
		must(t, sock.Close())
		if now := len(helpertest.OpenDescriptors()); now != before {
			t.Errorf("%s: %d descriptors are left of a closed socket", ask, now-before)
		}
	}
}

// An inherited socket is already in use, so the configuration for new sockets does not apply to it.
func TestOpenCallsControlForNewSocketsOnly(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	s, _ := newSetWith(t, passedSocket{Record{Name: "it", Given: true}, ln})
	var calls []string
	openAsk(t, s, Ask{Name: "it", Network: "tcp", Address: ":0", Config: recorded(&calls)})
	if calls != nil {
		t.Errorf("Control was called for an inherited socket: %q", calls)
	}
}

func TestOpenUnknownNetwork(t *testing.T) {
	for _, network := range []string{"", "tcp5", "ip4", "TCP"} {
		_, err := New().Open(t.Context(), Ask{Network: network, Address: ":0"})
		if unknown := net.UnknownNetworkError(""); !errors.As(err, &unknown) ||
			string(unknown) != network {
			t.Errorf("%q: %v", network, err)
		}
	}
}

func TestOpenThatFailsLeavesNothing(t *testing.T) {
	s := newSet(t)
	refusal := errors.New("no")
	refuse := net.ListenConfig{Control: func(string, string, syscall.RawConn) error {
		return refusal
	}}
	before := len(helpertest.OpenDescriptors())
	_, err := s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0", Config: refuse})
	if !errors.Is(err, refusal) {
		t.Errorf("got %v, want the error of Control", err)
	}
	if now := len(helpertest.OpenDescriptors()); now != before {
		t.Errorf("%d descriptors are left", now-before)
	}
	if got := open(t, s, "tcp", "127.0.0.1:0").Record().Ordinal; got != 0 {
		t.Errorf("the next socket has the ordinal %d, want that of the failed one", got)
	}
}

// endings are the two ways to close a socket: by its Close, and unseen, by that of the standard
// library's own listener, which users of the typed Listen functions have.
var endings = []struct {
	what string
	bare bool
	end  func(*Socket) error
}{
	{"closed", false, (*Socket).Close},
	{"closed unseen", true, func(s *Socket) error { return s.Conn().Close() }},
}

// openAny opens a TCP socket on some port.
func openAny(t *testing.T, s *Set, bare bool) *Socket {
	t.Helper()
	return openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0", Bare: bare})
}

func TestClosedSocketIsGone(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.what, func(t *testing.T) {
			s := newSet(t)
			sock, other := openAny(t, s, tt.bare), openAny(t, s, tt.bare)
			if !reaches(t, sock.Addr()) || len(lend(t, s)) != 2 {
				t.Fatal("the socket is not there while it is open")
			}
			must(t, tt.end(sock))
			if reaches(t, sock.Addr()) {
				t.Error("clients still enter the queue of a listener that nobody serves")
			}
			if got := lend(t, s); !slices.Equal(got, []Record{other.Record()}) {
				t.Errorf("lent are %v", got)
			}
			if got := s.Sockets(); !slices.Equal(got, []*Socket{other}) {
				t.Errorf("listed are %d sockets", len(got))
			}
		})
	}
}

func TestCloseTwice(t *testing.T) {
	s := newSet(t)
	sock := open(t, s, "tcp", "127.0.0.1:0")
	must(t, sock.Close())
	if err := sock.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

// Sockets of equal requests are distinguished by a number. When a socket is closed, its number is
// free for the next.
func TestOrdinals(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.what, func(t *testing.T) {
			s := newSet(t)
			var socks []*Socket
			for i := range 4 {
				socks = append(socks, openAny(t, s, tt.bare))
				if got := socks[i].Record().Ordinal; got != i {
					t.Fatalf("socket %d has the ordinal %d", i, got)
				}
			}
			must(t, tt.end(socks[2]))
			must(t, tt.end(socks[0]))
			for _, want := range []int{0, 2, 4} {
				if got := openAny(t, s, tt.bare).Record().Ordinal; got != want {
					t.Errorf("a new socket has the ordinal %d, want %d", got, want)
				}
			}
			other := openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0", Name: "other"})
			if got := other.Record().Ordinal; got != 0 {
				t.Errorf("a socket with a name of its own has the ordinal %d", got)
			}
		})
	}
}

// A program that asks for any port gets the same ports again from its predecessor.
func TestOrdinalsOverGenerations(t *testing.T) {
	old := newSet(t)
	first, second := open(t, old, "tcp", "127.0.0.1:0"), open(t, old, "tcp", "127.0.0.1:0")
	successor, _ := newSetWith(t, passedSocket{second.Record(), second.Conn()},
		passedSocket{first.Record(), first.Conn()})
	for _, want := range []*Socket{first, second} {
		if got := open(t, successor, "tcp", "127.0.0.1:0"); !got.Inherited() ||
			got.Addr().String() != want.Addr().String() {
			t.Errorf("got %s, inherited %t; want %s", got.Addr(), got.Inherited(), want.Addr())
		}
	}
	if third := open(t, successor, "tcp", "127.0.0.1:0"); third.Inherited() ||
		third.Record().Ordinal != 2 {
		t.Errorf("the third socket is %+v, inherited %t", third.Record(), third.Inherited())
	}
}

func TestOrdinalsOfManyGoroutines(t *testing.T) {
	s := newSet(t)
	const n = 50
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			sock, err := s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
			if err == nil {
				err = sock.Close()
			}
			if err == nil {
				_, err = s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := make(map[int]bool)
	for _, sock := range s.Sockets() {
		seen[sock.Record().Ordinal] = true
	}
	if len(seen) != n {
		t.Errorf("%d sockets have %d different ordinals", n, len(seen))
	}
}

func TestSetClose(t *testing.T) {
	before := len(helpertest.OpenDescriptors())
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	s, _ := newSetWith(t, passedSocket{Record{Name: "taken", Given: true}, ln},
		passedSocket{Record{Given: true}, ln})
	taken := openAsk(t, s, Ask{Name: "taken", Network: "tcp", Address: ":0"})
	bound := open(t, s, "tcp", "127.0.0.1:0")
	must(t, openAny(t, s, true).Conn().Close())

	must(t, s.Close())

	if now := len(helpertest.OpenDescriptors()); now != before+1 {
		t.Errorf("%d descriptors are left", now-before-1)
	}
	for _, sock := range []*Socket{taken, bound} {
		if err := sock.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("close %s afterwards: %v", sock.Addr(), err)
		}
	}
	_, err := s.Open(t.Context(), Ask{Network: "tcp", Address: "127.0.0.1:0"})
	if !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("open afterwards: %v", err)
	}
	must(t, s.Close())
}

// Close may come while a socket is being bound.
func TestSetCloseDuringOpen(t *testing.T) {
	s := New()
	path := sockPath(t)
	closing := net.ListenConfig{Control: func(string, string, syscall.RawConn) error {
		return s.Close()
	}}
	before := len(helpertest.OpenDescriptors())
	_, err := s.Open(context.Background(), Ask{Network: "unix", Address: path, Config: closing})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if now := len(helpertest.OpenDescriptors()); now != before || exists(path) {
		t.Errorf("%d descriptors are left, the path is left: %t", now-before, exists(path))
	}
}

// Users of the typed Listen functions close sockets unseen by the Set, which must not keep them
// forever.
func TestSocketsClosedUnseenAreForgotten(t *testing.T) {
	s := newSet(t)
	dir := sockDir(t)
	kept := open(t, s, "tcp", "127.0.0.1:0")
	const n = 1000
	for i := range n {
		name := strconv.Itoa(i) // none of them is asked for again
		path := filepath.Join(dir, strconv.Itoa(i%20))
		for _, ask := range []Ask{
			{Network: "tcp", Address: "127.0.0.1:0", Name: name, Bare: true},
			{Network: "unix", Address: path, Name: name, Bare: true},
		} {
			must(t, openAsk(t, s, ask).Conn().Close())
		}
	}
	if held := len(s.held); held > 200 {
		t.Errorf("of %d sockets, all closed but one, %d are held", 2*n+1, held)
	}
	if got := s.Sockets(); !slices.Equal(got, []*Socket{kept}) {
		t.Errorf("%d sockets are listed as open", len(got))
	}
	if got := lend(t, s); !slices.Equal(got, []Record{kept.Record()}) {
		t.Errorf("lent are %v", got)
	}
}

// A service may open sockets for a while under names that never come again.
func TestOrdinalsAreForgotten(t *testing.T) {
	s := newSet(t)
	for i := range 1000 {
		name := string(rune(0x4e00 + i))
		must(t, openAsk(t, s, Ask{Network: "tcp", Address: "127.0.0.1:0", Name: name}).Close())
	}
	if len(s.ordinals) > 200 {
		t.Errorf("of 1000 sockets, all closed, %d are remembered", len(s.ordinals))
	}
}
