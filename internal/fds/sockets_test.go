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
	pid, _, err := syscall.StartProcess(self, []string{self}, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

// listen opens a listener of the standard library's own, as another process would.
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

// needIPv6 is for tests whose subject is the kernel's own IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	must(t, ln.Close())
}

// fdOf gives the number of a descriptor, good as long as the test does not close its owner.
func fdOf(t *testing.T, conn any) int {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	must(t, err)
	var number int
	must(t, raw.Control(func(fd uintptr) { number = int(fd) }))
	return number
}

// dup gives a descriptor of its own to something that will take and close it.
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

// bequest is a socket that a Set inherits without a new process: its record, and a socket of which it gets a duplicate.
type bequest struct {
	record Record
	conn   any
}

// heirTo gives a Set that has inherited sockets, and the descriptors that it got.
func heirTo(t *testing.T, bequests ...bequest) (*Set, []int) {
	t.Helper()
	var records []Record
	for _, b := range bequests {
		records = append(records, b.record)
	}
	s := newSet(t)
	s.estate = newEstate(records)
	var numbers []int
	for i, b := range bequests {
		s.estate.heirs[i].fd = dup(t, fdOf(t, b.conn))
		numbers = append(numbers, s.estate.heirs[i].fd)
	}
	return s, numbers
}

// newSet gives a Set that is closed with the test.
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

// borrow returns what a Set lends, until the end of the test or Release.
func borrow(t *testing.T, s *Set) *Loan {
	t.Helper()
	l, err := s.Lend()
	must(t, err)
	t.Cleanup(l.Release)
	return l
}

// lend returns the records of what a Set lends, and takes the loan back.
func lend(t *testing.T, s *Set) []Record {
	t.Helper()
	l := borrow(t, s)
	l.Release()
	s.TakeBack()
	return l.Records
}

// reaches reports whether a connection attempt is accepted by some queue; anything but a refusal is a failure of the test.
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

// eventually waits for a condition that another goroutine or process brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// sockDir gives a directory with a name short enough for the paths of unix sockets.
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
