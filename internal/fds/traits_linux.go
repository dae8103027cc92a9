package fds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// specialOptions are those for which a service opens several sockets on one address: see socket(7),
// ip(7) and ipv6(7). The device is not among them.
var specialOptions = []struct {
	level, name int
	text        string
}{
	{unix.SOL_SOCKET, unix.SO_MARK, "mark %d"},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT, "transparent %d"},
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, "IPv6 only %d"},
}

// readSpecialOptions returns the special options of a socket that are set.
func readSpecialOptions(fd int) (set []string) {
	for _, o := range specialOptions {
		if n, err := unix.GetsockoptInt(fd, o.level, o.name); err == nil && n != 0 {
			set = append(set, fmt.Sprintf(o.text, n))
		}
	}
	return set
}

// deviceOf returns the name of the device to which a socket is bound. One that is gone has none.
func deviceOf(fd int) string {
	name, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	if err != nil {
		return ""
	}
	return name
}

// lostDevice reports whether a socket is bound to a device that is gone, even if a new one has its
// name: nothing reaches such a socket. The kernel looks the name up by the index.
func lostDevice(fd int) bool {
	_, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	return errors.Is(err, unix.ENODEV)
}

// namespaceOf returns the cookie of the network namespace of a socket, from Linux 5.14 on.
func namespaceOf(fd int) string {
	// The cookie has eight bytes, and an IPMreq is the way in which package unix reads as many.
	b, err := unix.GetsockoptIPMreq(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return ""
	}
	cookie := binary.NativeEndian.Uint64(append(b.Multiaddr[:], b.Interface[:]...))
	return strconv.FormatUint(cookie, 10)
}

// threadNamespace returns the cookie of the network namespace in which this thread makes sockets.
func threadNamespace() string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	return namespaceOf(fd)
}
