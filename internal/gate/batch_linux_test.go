package gate

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// batch is how many packets a library takes in one call.
const batch = 8

// mmsghdr is that of recvmmsg(2).
type mmsghdr struct {
	hdr syscall.Msghdr
	len uint32
}

// readBatch takes up to batch packets, as golang.org/x/net/ipv4 and QUIC libraries do.
func readBatch(c syscall.Conn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var all [batch]mmsghdr
	for i := range all {
		iov := syscall.Iovec{Base: &make([]byte, 100)[0]}
		iov.SetLen(100)
		all[i].hdr.Iov = &iov
		all[i].hdr.Iovlen = 1
	}
	var errno syscall.Errno
	err = raw.Read(func(fd uintptr) bool {
		r, _, e := syscall.Syscall6(syscall.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&all[0])), batch,
			syscall.MSG_DONTWAIT, 0, 0)
		n, errno = int(r), e
		return e != syscall.EAGAIN && e != syscall.EINTR
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return n, err
}

// A successor that reads in batches takes nothing before the commit: all packets are there for the
// old process if the successor fails. The same holds after Shut, the other way round.
func TestBatchesWaitAtTheGate(t *testing.T) {
	for state, prepare := range map[string]func(*subject){
		"not yet open": func(*subject) {},
		"shut":         func(s *subject) { s.gate.Open(); s.shut() },
	} {
		for network, sent := range map[string]int{"udp": 20, "unixgram": 8} { // a queue holds 10
			t.Run(state+"/"+network, func(t *testing.T) {
				s := newSubject(t, network, New())
				prepare(s)
				other := s.nextPacketConn()
				defer other.Close()
				result := make(chan error, 1)
				go func() { // ends with Close
					_, err := readBatch(s)
					result <- err
				}()
				s.awaitWait()
				for range sent {
					s.send()
				}
				must(t, s.SetDeadline(time.Now().Add(soon)))
				if n, err := readBatch(s); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("a batch of %d packets was read: %v", n, err)
				}
				if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the read that waited ended with %v", err)
				}
				readAll(t, other, sent)
				must(t, s.Close())
				if _, err := readBatch(s); !errors.Is(err, net.ErrClosed) {
					t.Errorf("after Close a read returned %v", err)
				}
			})
		}
	}
}

// readAll reads as many packets as were sent.
func readAll(t *testing.T, c net.Conn, n int) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	for i := range n {
		if _, err := c.Read(make([]byte, 100)); err != nil {
			t.Fatal("packet " + strconv.Itoa(i) + ": " + err.Error())
		}
	}
}

// At an open gate a batch is read as ever.
func TestBatchAtAnOpenGate(t *testing.T) {
	s := newSubject(t, "udp", newOpen())
	for range batch {
		s.send()
	}
	for got := 0; got < batch; {
		n, err := readBatch(s)
		must(t, err)
		got += n
	}
}

// Package net refuses reads by the RawConn of a listener, so nothing can be accepted past the gate
// by them.
func TestListenersHaveNoRawReads(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		s := newSubject(t, network, newOpen())
		raw, err := s.SyscallConn()
		must(t, err)
		accept := func(fd uintptr) bool {
			t.Error("the function was called")
			return true
		}
		if err := raw.Read(accept); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: Read returned %v", network, err)
		}
	}
}
