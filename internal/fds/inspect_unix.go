//go:build unix

package fds

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// inspect asks the kernel about the descriptor.
func inspect(fd int) facts {
	sotype, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return facts{other: notSocket(fd)}
	}
	kinds := map[int]kind{
		unix.SOCK_STREAM: kindStream, unix.SOCK_DGRAM: kindDatagram,
		unix.SOCK_SEQPACKET: kindSeqpacket, unix.SOCK_RAW: kindRaw,
	}
	f := facts{kind: kinds[sotype]}
	if f.kind == "" {
		return facts{other: fmt.Sprintf("a socket of type %d", sotype)}
	}
	f.setAddress(fd)
	_, err = unix.Getpeername(fd)
	f.connected = err == nil
	f.listening = f.isListening(fd)
	if f.family == familyInet6 {
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		f.v6only = err == nil && only != 0
	}
	if f.kind == kindRaw {
		f.protocol = socketProtocol(fd)
		// The kernel reports the protocol again as the port.
		f.address = netip.AddrPortFrom(f.address.Addr(), 0)
	}
	return f
}

// acceptConn is a seam for tests.
var acceptConn = func(fd int) (int, error) {
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
}

// isListening is called when the other facts are known. macOS and OpenBSD cannot read SO_ACCEPTCONN
// and answer ENOPROTOOPT. There a socket listens that has an address and no peer, and that never
// had one: recv(2) then fails, and at the end of a connection it does not. No client is taken from
// the queue. A socket that is only bound cannot be told from one that listens.
func (f *facts) isListening(fd int) bool {
	n, err := acceptConn(fd)
	if err == nil {
		return n != 0
	}
	if f.kind != kindStream && f.kind != kindSeqpacket || f.connected || !f.isBound() {
		return false
	}
	_, _, err = unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.EINVAL)
}

func (f *facts) isBound() bool {
	named := f.path != "" && f.path != "@" // Linux has "@" for a socket without a name
	return f.family == familyUnix && named || f.address.Port() != 0
}

func (f *facts) setAddress(fd int) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		f.other = "a socket without a name: " + err.Error()
		return
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		f.family = familyInet
		f.address = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		f.family = familyInet6
		ip := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			ip = ip.WithZone(zoneName(sa.ZoneId))
		}
		f.address = netip.AddrPortFrom(ip, uint16(sa.Port))
	case *unix.SockaddrUnix:
		f.family, f.path = familyUnix, sa.Name
	default:
		f.other = "a socket of a family other than IPv4, IPv6 and unix"
	}
}

// notSocket describes a descriptor that is not a socket.
func notSocket(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		if errors.Is(err, unix.EBADF) {
			return "closed"
		}
		return "unusable: " + err.Error()
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "not a socket (mode " + strconv.FormatUint(uint64(st.Mode), 8) + ")"
}

// CheckInherited returns an error unless the descriptor is open and came through exec. Inherited
// descriptors lack FD_CLOEXEC and everything Go opens has it, so this process itself opened a
// descriptor with the flag.
func CheckInherited(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		return fmt.Errorf("descriptor %d is closed", fd)
	}
	if flags&unix.FD_CLOEXEC != 0 {
		return fmt.Errorf("descriptor %d was opened by this process, not passed to it", fd)
	}
	return nil
}

func closeFD(fd int) error { return unix.Close(fd) }

func setCloexec(first, count int) {
	if count == 0 || closeRangeCloexec(first, first+count-1) == nil {
		return
	}
	for fd := first; fd < first+count; fd++ {
		unix.CloseOnExec(fd)
	}
}

func zoneName(index uint32) string {
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifi.Name
	}
	return strconv.Itoa(int(index))
}
