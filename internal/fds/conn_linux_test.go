package fds

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// bothEnds returns both ends of a connection.
func bothEnds(t *testing.T, network, address string) (dialled, accepted net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	must(t, err)
	defer ln.Close()
	dialled, err = net.Dial(network, ln.Addr().String())
	must(t, err)
	accepted, err = ln.Accept()
	must(t, err)
	t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
	return dialled, accepted
}

// sent returns a file as it comes from another process: a new descriptor of the same socket.
func sent(t *testing.T, c any) *os.File {
	t.Helper()
	return os.NewFile(uintptr(dup(t, fdOf(t, c))), "sent")
}

// settings returns the modes of a descriptor and the options of its socket.
func settings(t *testing.T, c any) string {
	t.Helper()
	s := modes(t, c)
	for _, o := range []struct {
		name   string
		at, of int
	}{
		{"nodelay", unix.IPPROTO_TCP, unix.TCP_NODELAY},
		{"keepalive", unix.SOL_SOCKET, unix.SO_KEEPALIVE},
		{"idle", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		{"interval", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{"count", unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
		{"user", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	} {
		n, err := unix.GetsockoptInt(fdOf(t, c), o.at, o.of)
		must(t, err)
		s += fmt.Sprint(" ", o.name, "=", n)
	}
	return s
}

func modes(t *testing.T, c any) string {
	t.Helper()
	fd := fdOf(t, c)
	status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	must(t, err)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	must(t, err)
	nonblock, cloexec := status&unix.O_NONBLOCK != 0, flags&unix.FD_CLOEXEC != 0
	return fmt.Sprint("nonblock=", nonblock, " cloexec=", cloexec)
}

// Package net sets its own options on a socket that it is given, also for the process that still
// has it.
func TestOpenConnKeepsOptions(t *testing.T) {
	keepAlive := net.KeepAliveConfig{
		Enable: true, Idle: 33 * time.Second, Interval: 11 * time.Second, Count: 3,
	}
	timeout := option{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 500}
	for options, set := range map[string]func(*net.TCPConn) error{
		"nodelay=1 keepalive=1 idle=15 interval=15 count=9 user=0": func(*net.TCPConn) error {
			return nil
		},
		"nodelay=0 keepalive=1 idle=15 interval=15 count=9 user=0": func(c *net.TCPConn) error {
			return c.SetNoDelay(false)
		},
		"nodelay=1 keepalive=0 idle=7200 interval=75 count=9 user=0":   plain(nil),
		"nodelay=1 keepalive=0 idle=7200 interval=75 count=9 user=500": plain(&timeout),
		"nodelay=1 keepalive=1 idle=33 interval=11 count=3 user=0": func(c *net.TCPConn) error {
			return c.SetKeepAliveConfig(keepAlive)
		},
		"nodelay=1 keepalive=0 idle=33 interval=11 count=3 user=0": func(c *net.TCPConn) error {
			return errors.Join(c.SetKeepAliveConfig(keepAlive), c.SetKeepAlive(false))
		},
	} {
		want := "nonblock=true cloexec=true " + options
		client, c := bothEnds(t, "tcp", "127.0.0.1:0")
		must(t, set(c.(*net.TCPConn)))
		if got := settings(t, c); got != want {
			t.Fatalf("the connection has %s, want %s", got, want)
		}
		opened, err := OpenConn(sent(t, c))
		must(t, err)
		if _, ok := opened.(*net.TCPConn); !ok {
			t.Errorf("it is a %T", opened)
		}
		for whose, c := range map[string]net.Conn{"the old one": c, "the new one": opened} {
			if got := settings(t, c); got != want {
				t.Errorf("%s has %s, want %s", whose, got, want)
			}
		}
		must(t, c.Close())
		echoes(t, client, opened)
	}
}

// plain sets the kernel's keep-alive options on a connection, and one more option.
func plain(o *option) func(*net.TCPConn) error {
	return func(c *net.TCPConn) error {
		all := options{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7200},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 75}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
		}
		if o != nil {
			all = append(all, *o)
		}
		return Control(c, func(fd int) error {
			for _, o := range all {
				if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// echoes asserts that each end receives what the other sends, and closes the second.
func echoes(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		must(t, way[1].SetDeadline(time.Now().Add(time.Minute)))
		_, err := io.WriteString(way[0], "hello")
		must(t, err)
		got := make([]byte, 5)
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	must(t, b.Close())
	if n, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after its end: %d bytes, %v; want io.EOF: another descriptor keeps it open",
			n, err)
	}
}

func TestOpenConnOfUnixSocket(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket"} {
		client, c := bothEnds(t, network, filepath.Join(t.TempDir(), "s"))
		before := modes(t, c)
		opened, err := OpenConn(sent(t, c))
		must(t, err)
		if _, ok := opened.(*net.UnixConn); !ok ||
			opened.LocalAddr().String() != c.LocalAddr().String() ||
			opened.LocalAddr().Network() != network {
			t.Errorf("it is a %T, of %s %v",
				opened, opened.LocalAddr().Network(), opened.LocalAddr())
		}
		for whose, c := range map[string]net.Conn{"the old one": c, "the new one": opened} {
			if got := modes(t, c); got != before {
				t.Errorf("%s has %s, want %s", whose, got, before)
			}
		}
		must(t, c.Close())
		echoes(t, client, opened)
	}
}

func TestOpenConnOfOtherFiles(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	file, err := os.Open(os.DevNull)
	must(t, err)
	defer file.Close()
	before := helpertest.OpenDescriptors()
	closed := sent(t, file)
	must(t, closed.Close())
	for what, f := range map[string]*os.File{
		"a pipe": sent(t, r), "a file": sent(t, file), "a closed file": closed,
	} {
		if c, err := OpenConn(f); err == nil {
			t.Errorf("%s became a %T", what, c)
			must(t, c.Close())
		}
	}
	if after := helpertest.OpenDescriptors(); !maps.Equal(before, after) {
		t.Errorf("open before: %v; after: %v", before, after)
	}
}

// resetByClient returns the accepted end of a connection that its client has reset.
func resetByClient(t *testing.T) net.Conn {
	t.Helper()
	client, c := bothEnds(t, "tcp", "127.0.0.1:0")
	_, err := io.WriteString(client, "hello")
	must(t, errors.Join(err, client.(*net.TCPConn).SetLinger(0), client.Close()))
	return c
}

// endedByBoth returns the accepted end of a connection that both sides have ended, the client last.
func endedByBoth(t *testing.T) net.Conn {
	t.Helper()
	client, c := bothEnds(t, "tcp", "127.0.0.1:0")
	must(t, c.(*net.TCPConn).CloseWrite())
	_, err := io.Copy(io.Discard, client)
	must(t, err)
	_, err = io.WriteString(client, "hello")
	must(t, errors.Join(err, client.Close()))
	return c
}

// A connection that has ended has no RemoteAddr. OpenConn refuses it; its owner can still read what
// is left.
func TestOpenConnOfConnectionThatHasEnded(t *testing.T) {
	for what, end := range map[string]func(*testing.T) net.Conn{
		"reset": resetByClient, "ended by both": endedByBoth,
	} {
		c := end(t)
		helpertest.Eventually(t, what+" is seen", func() bool { return !isConnected(t, c) })
		before, kept := helpertest.OpenDescriptors(), settings(t, c)
		if opened, err := OpenConn(sent(t, c)); !errors.Is(err, errNoPeer) {
			t.Errorf("%s: got %v, %v", what, opened, err)
		}
		if after := helpertest.OpenDescriptors(); !maps.Equal(before, after) {
			t.Errorf("%s: open before: %v; after: %v", what, before, after)
		}
		if now := settings(t, c); now != kept {
			t.Errorf("%s: it had %s, and has %s", what, kept, now)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q, %v", what, got, err)
		}
	}
}

func isConnected(t *testing.T, c net.Conn) bool {
	t.Helper()
	_, err := unix.Getpeername(fdOf(t, c))
	return err == nil
}

// The client of a unix socket has no name, and may be gone: such a connection is as good as any
// other.
func TestOpenConnOfUnixSocketWhoseClientIsGone(t *testing.T) {
	client, c := bothEnds(t, "unix", filepath.Join(t.TempDir(), "s"))
	_, err := io.WriteString(c, "unread") // the kernel then reports a reset
	must(t, errors.Join(err, client.Close()))
	opened, err := OpenConn(sent(t, c))
	must(t, err)
	got, want := fmt.Sprintf("%#v", opened.RemoteAddr()), fmt.Sprintf("%#v", c.RemoteAddr())
	if opened.RemoteAddr() == nil || got != want {
		t.Errorf("its client is %s, want %s", got, want)
	}
	must(t, opened.Close())
}
