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
	"time"

	"golang.org/x/sys/unix"
)

func startProcess(env []string, files []uintptr) (*os.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pid, _, err := syscall.StartProcess(self, []string{self},
		&syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

// listenOn opens a listener of package net, as another process would.
func listenOn(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func listenPacketOn(t *testing.T, network, address string) net.PacketConn {
	t.Helper()
	pc, err := net.ListenPacket(network, address)
	must(t, err)
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

// needIPv6 skips a test that needs the kernel's IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	must(t, ln.Close())
}

// fdOf returns the descriptor of a connection, which is valid until the test closes the connection.
func fdOf(t *testing.T, conn any) int {
	t.Helper()
	var number int
	must(t, Control(conn.(syscall.Conn), func(fd int) error {
		number = fd
		return nil
	}))
	return number
}

// dup duplicates a descriptor for something that will take and close it.
func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, First)
	must(t, err)
	return n
}

func isNonblocking(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	must(t, err)
	return flags&unix.O_NONBLOCK != 0
}

// passedSocket is a socket whose duplicate a Set inherits without a new process.
type passedSocket struct {
	record Record
	conn   any
}

// newSetWith returns a Set that has inherited the sockets, and the numbers of their descriptors.
func newSetWith(t *testing.T, sockets ...passedSocket) (*Set, []int) {
	t.Helper()
	var records []Record
	for _, p := range sockets {
		records = append(records, p.record)
	}
	s := newSet(t)
	s.inherited = newInheritance(records)
	var numbers []int
	for i, p := range sockets {
		s.inherited.descriptors[i].fd = dup(t, fdOf(t, p.conn))
		numbers = append(numbers, s.inherited.descriptors[i].fd)
	}
	return s, numbers
}

// newSet returns a Set that is closed with the test.
func newSet(t *testing.T) *Set {
	t.Helper()
	s := New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the set: %v", err)
		}
	})
	return s
}

func open(t *testing.T, s *Set, network, address string) *Socket {
	t.Helper()
	return openAsk(t, s, Ask{Network: network, Address: address})
}

func openAsk(t *testing.T, s *Set, ask Ask) *Socket {
	t.Helper()
	sock, err := s.Open(t.Context(), ask)
	if err != nil {
		t.Fatalf("open %s: %v", ask, err)
	}
	return sock
}

// borrow returns a Loan, which ends with the test or at Release.
func borrow(t *testing.T, s *Set) *Loan {
	t.Helper()
	l, err := s.Lend()
	must(t, err)
	t.Cleanup(l.Release)
	return l
}

// lend returns the records of a Loan, which it takes back.
func lend(t *testing.T, s *Set) []Record {
	t.Helper()
	l := borrow(t, s)
	l.Release()
	s.TakeBack()
	return l.Records
}

// reaches reports whether some queue accepts a connection. Any error except a refusal fails the
// test.
func reaches(t *testing.T, addr net.Addr) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	switch {
	case err == nil:
		must(t, c.Close())
		return true
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return false
	}
	t.Fatalf("dial %s: %v", addr, err)
	return false
}

// sockDir returns a directory whose name is short enough for the paths of unix sockets.
func sockDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fds")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func sockPath(t *testing.T) string { return filepath.Join(sockDir(t), "s") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
