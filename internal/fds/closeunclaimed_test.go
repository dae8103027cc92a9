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

// orphaned closes the original of an inherited socket and returns its address.
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

func TestCloseUnclaimed(t *testing.T) {
	taken, named := listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "tcp", "127.0.0.1:0")
	bound := listenOn(t, "tcp", "127.0.0.1:0")
	words := Record{Network: "tcp", Address: "127.0.0.1:0", Ordinal: 7}
	s, numbers := newSetWith(t, passedSocket{Record{Given: true}, taken},
		passedSocket{Record{Name: "http", Given: true}, named}, passedSocket{words, bound})
	addrs := []net.Addr{orphaned(t, taken), orphaned(t, named), orphaned(t, bound)}
	sock := open(t, s, "tcp", addrs[0].String())
	if !reaches(t, addrs[1]) {
		t.Fatal("the inherited socket was closed too early")
	}

	closed := s.CloseUnclaimed()

	want := []Record{
		{Name: "http", Network: "IPv4", Address: addrs[1].String(), Given: true}, words,
	}
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
	if again := s.CloseUnclaimed(); again != nil {
		t.Errorf("a second CloseUnclaimed closes %v", again)
	}
}

// After CloseUnclaimed, an Ask for an inherited socket binds a new one.
func TestOpenAfterCloseUnclaimed(t *testing.T) {
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	s, _ := newSetWith(t, passedSocket{Record{Name: "http", Given: true}, ln})
	s.CloseUnclaimed()
	sock := openAsk(t, s, Ask{Name: "http", Network: "tcp", Address: "127.0.0.1:0"})
	if sock.Inherited() {
		t.Error("an inherited socket came back")
	}
}

// An inherited socket that was closed does not come back either: whoever asks again wants another
// one.
func TestOpenAfterInheritedSocketWasClosed(t *testing.T) {
	words := Record{Network: "tcp", Address: "127.0.0.1:0"}
	s, _ := newSetWith(t, passedSocket{words, listenOn(t, "tcp", "127.0.0.1:0")})
	must(t, open(t, s, words.Network, words.Address).Close())
	if sock := open(t, s, words.Network, words.Address); sock.Inherited() {
		t.Error("the closed socket came back")
	}
}

// newSetWithUnix returns a Set that has inherited a unix socket, which no other process still has,
// and its path.
func newSetWithUnix(t *testing.T, isGiven bool) (*Set, Ask) {
	t.Helper()
	ask := Ask{Network: "unix", Address: sockPath(t)}
	ln := listenOn(t, ask.Network, ask.Address)
	record := Record{Given: true}
	if !isGiven {
		record = Record{Network: ask.Network, Address: ask.Address}
	}
	s, _ := newSetWith(t, passedSocket{record, ln})
	orphaned(t, ln)
	return s, ask
}

// The process that serves last removes the path, unless it belongs to whoever gave the socket, such
// as a service manager.
func TestPathOfInheritedSocket(t *testing.T) {
	tests := []struct {
		what            string
		given           bool
		claim, serve    bool
		close           func(*Set, *Socket) error
		leftBeforeClose bool
		leftAfterClose  bool
	}{
		{"ours, closed while serving", false, true, true,
			func(_ *Set, s *Socket) error { return s.Close() }, true, false},
		{"ours, all closed while serving", false, true, true,
			func(s *Set, _ *Socket) error { return s.Close() }, true, false},
		{"ours, disowned while serving", false, true, true,
			func(s *Set, _ *Socket) error { s.Disown(); return s.Close() }, true, true},
		{"ours, not asked for", false, false, true,
			func(s *Set, _ *Socket) error { return s.Close() }, false, false},
		{"ours, never serving", false, true, false,
			func(s *Set, _ *Socket) error { return s.Close() }, true, true},
		{"ours, never serving and not asked for", false, false, false,
			func(s *Set, _ *Socket) error { return s.Close() }, true, true},
		{"given, closed while serving", true, true, true,
			func(_ *Set, s *Socket) error { return s.Close() }, true, true},
		{"given, not asked for", true, false, true,
			func(s *Set, _ *Socket) error { return s.Close() }, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			s, ask := newSetWithUnix(t, tt.given)
			var sock *Socket
			if tt.claim {
				sock = openAsk(t, s, ask)
			}
			if tt.serve {
				s.CloseUnclaimed()
			}
			if exists(ask.Address) != tt.leftBeforeClose {
				t.Errorf("before Close the path exists: %t", !tt.leftBeforeClose)
			}
			must(t, tt.close(s, sock))
			if exists(ask.Address) != tt.leftAfterClose {
				t.Errorf("after Close the path exists: %t", !tt.leftAfterClose)
			}
		})
	}
}

// A successor that closes a socket before it serves may not remove the path, because the old
// process may keep serving. After the old process has left, nobody else will remove it.
func TestPathOfSocketClosedBeforeCloseUnclaimed(t *testing.T) {
	s, ask := newSetWithUnix(t, false)
	must(t, openAsk(t, s, ask).Close())
	if !exists(ask.Address) {
		t.Error("the path was removed while the old process may still serve it")
	}
	s.CloseUnclaimed()
	if exists(ask.Address) {
		t.Error("the path is left over, and nobody will remove it")
	}
}

// If a confused parent passes two descriptors of one path, the path stays with the one that is
// served.
func TestCloseUnclaimedKeepsPathThatIsServed(t *testing.T) {
	ask := Ask{Network: "unix", Address: sockPath(t)}
	ln := listenOn(t, ask.Network, ask.Address)
	s, _ := newSetWith(t, passedSocket{Record{Network: "unix", Address: ask.Address}, ln},
		passedSocket{Record{Network: "unix", Address: ask.Address, Ordinal: 1}, ln})
	sock := openAsk(t, s, ask)
	orphaned(t, ln)
	if closed := s.CloseUnclaimed(); len(closed) != 1 || !exists(ask.Address) ||
		!reaches(t, sock.Addr()) {
		t.Errorf("closed are %v, the path exists: %t", closed, exists(ask.Address))
	}
}

// The path of an inherited socket is removed only if its file still has the identity from when an
// earlier generation bound it. A newer file belongs to another process.
func TestCloseUnclaimedKeepsSocketOfAnotherAtPath(t *testing.T) {
	for _, claimed := range []bool{false, true} {
		forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
			old := newSet(t)
			sock := openAsk(t, old, ask)
			s, _ := newSetWith(t, passedSocket{sock.Record(), sock.Conn()})
			was, err := os.Lstat(ask.Address)
			must(t, err)
			isServed := takeOver(t, ask, was)
			if claimed {
				openAsk(t, s, ask)
			}
			s.CloseUnclaimed()
			must(t, s.Close())
			if !isServed() {
				t.Errorf("socket asked for: %t; the path of another process's socket was removed",
					claimed)
			}
		})
	}
}

// The records of open sockets are read, for logs, during CloseUnclaimed.
func TestRecordDuringCloseUnclaimed(t *testing.T) {
	s, ask := newSetWithUnix(t, false)
	sock := openAsk(t, s, ask)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := sock.Record().Address; got != ask.Address {
			t.Errorf("got the address %q", got)
		}
	})
	s.CloseUnclaimed()
	wg.Wait()
}

// A file that was put at the path meanwhile is a user's.
func TestCloseUnclaimedKeepsFileAtPath(t *testing.T) {
	for _, claimed := range []bool{false, true} {
		s, ask := newSetWithUnix(t, false)
		if claimed {
			openAsk(t, s, ask)
		}
		must(t, os.Remove(ask.Address))
		must(t, os.WriteFile(ask.Address, []byte("mine"), 0o600))
		s.CloseUnclaimed()
		must(t, s.Close())
		if got, err := os.ReadFile(ask.Address); err != nil || string(got) != "mine" {
			t.Errorf("socket asked for: %t; the file at its path is gone: %v", claimed, err)
		}
	}
}
