//go:build unix

package fds

import (
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// orphaned gives the socket's address and leaves it open nowhere but in what inherits it.
func orphaned(t *testing.T, conn any) net.Addr {
	t.Helper()
	switch c := conn.(type) {
	case *net.UnixListener:
		c.SetUnlinkOnClose(false)
		defer c.Close()
		return c.Addr()
	case net.Listener:
		defer c.Close()
		return c.Addr()
	}
	pc := conn.(net.PacketConn)
	defer pc.Close()
	return pc.LocalAddr()
}

func TestSettleClosesWhatNobodyAskedFor(t *testing.T) {
	taken, named, bound := listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "tcp", "127.0.0.1:0")
	words := Record{Network: "tcp", Address: "127.0.0.1:0", Ordinal: 7}
	s, numbers := heirTo(t, bequest{Record{Given: true}, taken}, bequest{Record{Name: "http", Given: true}, named}, bequest{words, bound})
	addrs := []net.Addr{orphaned(t, taken), orphaned(t, named), orphaned(t, bound)}
	sock := open(t, s, "tcp", addrs[0].String())
	if !reaches(t, addrs[1]) {
		t.Fatal("the inherited socket was closed too early")
	}

	closed := s.Settle()

	want := []Record{{Name: "http", Network: "IPv4", Address: addrs[1].String(), Given: true}, words}
	if !slices.Equal(closed, want) {
		t.Errorf("closed are %+v, want %+v", closed, want)
	}
	for i, reachable := range []bool{true, false, false} {
		if reaches(t, addrs[i]) != reachable {
			t.Errorf("socket %d can be reached: %t", i, !reachable)
		}
	}
	if helpertest.IsOpen(numbers[1]) || helpertest.IsOpen(numbers[2]) {
		t.Error("descriptors are left open")
	}
	if got := s.Sockets(); !slices.Equal(got, []*Socket{sock}) {
		t.Errorf("%d sockets are left", len(got))
	}
	if again := s.Settle(); again != nil {
		t.Errorf("a second Settle closes %v", again)
	}
}

// What was inherited is gone then, and an Ask for it is one for a new socket.
func TestOpenAfterSettle(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	s, _ := heirTo(t, bequest{Record{Name: "http", Given: true}, ln})
	s.Settle()
	if sock := openAsk(t, s, Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:0"}); sock.Inherited() {
		t.Error("an inherited socket came back")
	}
}

// A socket that was inherited and closed does not come back either: whoever asks once more wants another one.
func TestOpenAfterInheritedSocketWasClosed(t *testing.T) {
	words := Record{Network: "tcp", Address: "127.0.0.1:0"}
	s, _ := heirTo(t, bequest{words, listenOn(t, "tcp", "127.0.0.1:0")})
	must(t, open(t, s, words.Network, words.Address).Close())
	if sock := open(t, s, words.Network, words.Address); sock.Inherited() {
		t.Error("the closed socket came back")
	}
}

// unixHeir gives a Set that has inherited a unix socket, which no other process has any more, and its path.
func unixHeir(t *testing.T, isGiven bool) (*Set, Ask) {
	t.Helper()
	ask := Ask{Network: "unix", Address: sockPath(t)}
	ln := listenOn(t, ask.Network, ask.Address)
	record := Record{Given: true}
	if !isGiven {
		record = Record{Network: ask.Network, Address: ask.Address}
	}
	s, _ := heirTo(t, bequest{record, ln})
	orphaned(t, ln)
	return s, ask
}

// Who serves in the end removes the path, unless it belongs to whoever gave the socket, such as a service manager.
func TestPathOfInheritedSocket(t *testing.T) {
	tests := []struct {
		what            string
		given           bool
		claim, settle   bool
		close           func(*Set, *Socket) error
		leftAfterSettle bool
		leftAfterClose  bool
	}{
		{"ours, closed when settled", false, true, true, func(_ *Set, s *Socket) error { return s.Close() }, true, false},
		{"ours, all closed when settled", false, true, true, func(s *Set, _ *Socket) error { return s.Close() }, true, false},
		{"ours, renounced when settled", false, true, true, func(s *Set, _ *Socket) error { s.Renounce(); return s.Close() }, true, true},
		{"ours, not asked for", false, false, true, func(s *Set, _ *Socket) error { return s.Close() }, false, false},
		{"ours, never settled", false, true, false, func(s *Set, _ *Socket) error { return s.Close() }, true, true},
		{"ours, neither settled nor asked for", false, false, false, func(s *Set, _ *Socket) error { return s.Close() }, true, true},
		{"given, closed when settled", true, true, true, func(_ *Set, s *Socket) error { return s.Close() }, true, true},
		{"given, not asked for", true, false, true, func(s *Set, _ *Socket) error { return s.Close() }, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			s, ask := unixHeir(t, tt.given)
			var sock *Socket
			if tt.claim {
				sock = openAsk(t, s, ask)
			}
			if tt.settle {
				s.Settle()
			}
			if exists(ask.Address) != tt.leftAfterSettle {
				t.Errorf("before Close the path exists: %t", !tt.leftAfterSettle)
			}
			must(t, tt.close(s, sock))
			if exists(ask.Address) != tt.leftAfterClose {
				t.Errorf("after Close the path exists: %t", !tt.leftAfterClose)
			}
		})
	}
}

// A successor that closes a socket before it serves may not remove the path, since the old process may yet go on. Once the old
// process has left, nobody else will.
func TestPathOfSocketClosedBeforeSettle(t *testing.T) {
	s, ask := unixHeir(t, false)
	must(t, openAsk(t, s, ask).Close())
	if !exists(ask.Address) {
		t.Error("the path was removed while the old process may still serve it")
	}
	s.Settle()
	if exists(ask.Address) {
		t.Error("the path is left over, and nobody will remove it")
	}
}

// Of two descriptors of one path, as a confused parent may pass them, the path stays with the one that is served.
func TestSettleKeepsPathThatIsServed(t *testing.T) {
	ask := Ask{Network: "unix", Address: sockPath(t)}
	ln := listenOn(t, ask.Network, ask.Address)
	s, _ := heirTo(t, bequest{Record{Network: "unix", Address: ask.Address}, ln}, bequest{Record{Network: "unix", Address: ask.Address, Ordinal: 1}, ln})
	sock := openAsk(t, s, ask)
	orphaned(t, ln)
	if closed := s.Settle(); len(closed) != 1 || !exists(ask.Address) || !reaches(t, sock.Addr()) {
		t.Errorf("closed are %v, the path exists: %t", closed, exists(ask.Address))
	}
}

// The path of an inherited socket is removed by the identity that its file had when an earlier generation bound it. What has
// come to the path since then is another's.
func TestSettleKeepsSocketOfAnotherAtPath(t *testing.T) {
	for _, claimed := range []bool{false, true} {
		forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
			old := newSet(t)
			sock := openAsk(t, old, ask)
			s, _ := heirTo(t, bequest{sock.Record(), sock.Conn()})
			was, err := os.Lstat(ask.Address)
			must(t, err)
			isServed := takeOver(t, ask, was)
			if claimed {
				openAsk(t, s, ask)
			}
			s.Settle()
			must(t, s.Close())
			if !isServed() {
				t.Errorf("socket asked for: %t; the path of another process's socket was removed", claimed)
			}
		})
	}
}

// The records of open sockets are read, for logs, while the inheritance is settled.
func TestRecordDuringSettle(t *testing.T) {
	s, ask := unixHeir(t, false)
	sock := openAsk(t, s, ask)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := sock.Record().Address; got != ask.Address {
			t.Errorf("got the address %q", got)
		}
	})
	s.Settle()
	wg.Wait()
}

// Whatever has come to the path meanwhile, it is a user's file.
func TestSettleKeepsFileAtPath(t *testing.T) {
	for _, claimed := range []bool{false, true} {
		s, ask := unixHeir(t, false)
		if claimed {
			openAsk(t, s, ask)
		}
		must(t, os.Remove(ask.Address))
		must(t, os.WriteFile(ask.Address, []byte("mine"), 0o600))
		s.Settle()
		must(t, s.Close())
		if got, err := os.ReadFile(ask.Address); err != nil || string(got) != "mine" {
			t.Errorf("socket asked for: %t; the file at its path is gone: %v", claimed, err)
		}
	}
}
