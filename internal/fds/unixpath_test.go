//go:build unix

package fds

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// unixNetworks returns the kinds of unix sockets that this machine has (macOS has no sequential
// packets).
func unixNetworks(t *testing.T) []string {
	t.Helper()
	ln, err := net.Listen("unixpacket", sockPath(t))
	if err != nil {
		return []string{"unix", "unixgram"}
	}
	must(t, ln.Close())
	return []string{"unix", "unixgram", "unixpacket"}
}

// forEachUnixNetwork runs a test with the path of a socket that does not exist yet.
func forEachUnixNetwork(t *testing.T, test func(t *testing.T, ask Ask)) {
	t.Helper()
	for _, network := range unixNetworks(t) {
		t.Run(network, func(t *testing.T) { test(t, Ask{Network: network, Address: sockPath(t)}) })
	}
}

// lendToNobody begins a loan and releases its descriptors.
func lendToNobody(s *Set) error {
	l, err := s.Lend()
	if err == nil {
		l.Release()
	}
	return err
}

func TestPathIsRemoved(t *testing.T) {
	tests := []struct {
		what string
		end  func(s *Set, sock *Socket) error
	}{
		{"socket closed", func(_ *Set, sock *Socket) error { return sock.Close() }},
		{"set closed", func(s *Set, _ *Socket) error { return s.Close() }},
		{"closed by itself, then the set", func(s *Set, sock *Socket) error {
			return errors.Join(sock.Conn().Close(), s.Close())
		}},
		{"taken back and closed", func(s *Set, sock *Socket) error {
			err := lendToNobody(s)
			s.TakeBack()
			return errors.Join(err, sock.Close())
		}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
				s := newSet(t)
				sock := openAsk(t, s, ask)
				if !exists(ask.Address) {
					t.Fatal("there is no path")
				}
				must(t, tt.end(s, sock))
				if exists(ask.Address) {
					t.Error("the path is left over")
				}
			})
		})
	}
}

// If the successor fails, this process still removes the path; otherwise the successor serves it.
func TestPathOfLentSocket(t *testing.T) {
	tests := []struct {
		what string
		end  func(*Set)
		left bool
	}{
		{"taken back", (*Set).TakeBack, false},
		{"handed over", (*Set).HandOver, true},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
				s := newSet(t)
				sock := openAsk(t, s, ask)
				must(t, lendToNobody(s))
				must(t, sock.Close())
				if !exists(ask.Address) {
					t.Error("the path was removed while a successor may serve it")
				}
				tt.end(s)
				if exists(ask.Address) != tt.left {
					t.Errorf("at the end of the loan the path exists: %t", !tt.left)
				}
				must(t, s.Close())
				if exists(ask.Address) != tt.left {
					t.Errorf("after Close the path exists: %t", !tt.left)
				}
			})
		})
	}
}

// A socket that was closed before the loan is not part of it, and the successor will not remove its
// path.
func TestPathOfSocketClosedUnseenBeforeLoan(t *testing.T) {
	forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
		s := newSet(t)
		ask.Bare = true
		must(t, openAsk(t, s, ask).Conn().Close())
		must(t, lendToNobody(s))
		s.HandOver()
		if exists(ask.Address) {
			t.Error("the path is left over, and nobody will remove it")
		}
	})
}

func TestPathOfSocketHandedOver(t *testing.T) {
	forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
		s := newSet(t)
		first := openAsk(t, s, ask)
		second := openAsk(t, s, Ask{Network: ask.Network, Address: ask.Address + "2"})
		must(t, lendToNobody(s))
		s.HandOver()
		must(t, first.Close())
		must(t, s.Close())
		if !exists(ask.Address) || !exists(second.Record().Address) {
			t.Error("the old process removed a path that the successor serves")
		}
	})
}

func TestAbstractNames(t *testing.T) {
	t.Chdir(sockDir(t))
	if ln, err := net.Listen("unix", "@grace-fds-probe"); err != nil || exists("@grace-fds-probe") {
		t.Skip("this system has no abstract names")
	} else {
		must(t, ln.Close())
	}
	// a file of that name is unrelated
	listenAs(t, Ask{Network: "unix", Address: "./@grace-fds-test"})
	s := newSet(t)
	sock := open(t, s, "unix", "@grace-fds-test")
	if !reaches(t, sock.Addr()) {
		t.Error("nobody listens on the name")
	}
	_, err := s.Open(t.Context(), Ask{Network: "unix", Address: "@grace-fds-test"})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second socket on the name: %v", err)
	}
	must(t, sock.Close())
	if !exists("@grace-fds-test") {
		t.Error("a file was removed")
	}
	if auto := open(t, s, "unix", ""); auto.Addr().String() == "" || auto.Addr().String() == "@" {
		t.Errorf("a socket without a name got the name %q", auto.Addr())
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(sockDir(t))
	s := newSet(t)
	sock := open(t, s, "unix", "s")
	successor, _ := newSetWith(t, passedSocket{sock.Record(), sock.Conn()})
	dir, err := os.Getwd()
	must(t, err)
	if got := open(t, successor, "unix", filepath.Join(dir, "s")); !got.Inherited() {
		t.Error("the absolute path is not known as that of the inherited socket")
	}
	must(t, sock.Close())
	if exists("s") {
		t.Error("the path is left over")
	}
}

// takeOver puts a socket of another process at the path, with a later time than the previous file:
// the kernel gives the number of a free inode to the next file, and then only the time
// distinguishes them.
func takeOver(t *testing.T, ask Ask, was os.FileInfo) (isServed func() bool) {
	t.Helper()
	helpertest.Eventually(t, "a file with another time", func() bool {
		_ = os.Remove(ask.Address)
		listenAs(t, ask)
		now, err := os.Lstat(ask.Address)
		must(t, err)
		return !now.ModTime().Equal(was.ModTime())
	})
	return func() bool {
		return exists(ask.Address) && reaches(t, &net.UnixAddr{Name: ask.Address, Net: ask.Network})
	}
}

// listenAs opens a socket as another process would. The returned function closes it and leaves its
// path.
func listenAs(t *testing.T, ask Ask) (crash func()) {
	t.Helper()
	if ask.Network == "unixgram" {
		pc := listenPacketOn(t, ask.Network, ask.Address)
		return func() { _ = pc.Close() }
	}
	ln := listenOn(t, ask.Network, ask.Address).(*net.UnixListener)
	ln.SetUnlinkOnClose(false)
	return func() { _ = ln.Close() }
}

// Another process may have replaced the file, as when an administrator starts a second service by
// mistake.
func TestPathThatAnotherTookIsKept(t *testing.T) {
	closeSocket := func(_ *Set, sock *Socket) error { return sock.Close() }
	tests := []struct {
		what          string
		bare          bool
		before, after func(s *Set, sock *Socket) error // the takeover
	}{
		{"socket closed", false, func(*Set, *Socket) error { return nil }, closeSocket},
		{"set closed", false, func(*Set, *Socket) error { return nil },
			func(s *Set, _ *Socket) error { return s.Close() }},
		{"closed during a loan", false,
			func(s *Set, sock *Socket) error { return errors.Join(lendToNobody(s), sock.Close()) },
			func(s *Set, _ *Socket) error { s.TakeBack(); return nil }},
		{"closed unseen", true, func(_ *Set, sock *Socket) error { return sock.Conn().Close() },
			func(s *Set, _ *Socket) error { return s.Close() }},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
				s := newSet(t)
				ask.Bare = tt.bare
				sock := openAsk(t, s, ask)
				was, err := os.Lstat(ask.Address)
				must(t, err)
				must(t, tt.before(s, sock))
				isServed := takeOver(t, ask, was)
				must(t, tt.after(s, sock))
				if !isServed() {
					t.Error("the path of another process's socket was removed")
				}
			})
		})
	}
}

// The user of a typed Listen function closes its listener and opens the path again, perhaps under
// another name. The Set still knows the first socket, and must not remove the path of the second,
// whose file may have the same inode number and time.
func TestPathOpenedAgainIsKept(t *testing.T) {
	for _, name := range []string{"", "new"} {
		forEachUnixNetwork(t, func(t *testing.T, ask Ask) {
			s := newSet(t)
			ask.Bare = true
			must(t, openAsk(t, s, ask).Conn().Close())
			ask.Name = name
			again := openAsk(t, s, ask)
			for range 300 { // until the Set looks for what was closed unseen
				must(t, openAny(t, s, true).Conn().Close())
			}
			if !exists(ask.Address) || !reaches(t, again.Addr()) {
				t.Errorf("named %q: the path of the open socket was removed", name)
			}
			must(t, again.Close())
			if exists(ask.Address) {
				t.Errorf("named %q: the path is left over", name)
			}
		})
	}
}

// A missing directory, or a path that was removed by hand, is not an error.
func TestPathThatIsGone(t *testing.T) {
	s := newSet(t)
	sock := open(t, s, "unix", sockPath(t))
	must(t, os.RemoveAll(filepath.Dir(sock.Addr().String())))
	must(t, sock.Close())
}

func TestPathInMissingDirectory(t *testing.T) {
	_, err := New().Open(context.Background(),
		Ask{Network: "unix", Address: filepath.Join(sockDir(t), "no", "s")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want an error that matches os.ErrNotExist", err)
	}
}
