package fds

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// family is the address family of a socket.
type family string

const (
	familyInet  family = "IPv4"
	familyInet6 family = "IPv6"
	familyUnix  family = "unix"
)

// kind is the type of a socket, in the words of socket(2).
type kind string

const (
	kindStream    kind = "stream"
	kindDatagram  kind = "datagram"
	kindSeqpacket kind = "sequential-packet"
	kindRaw       kind = "raw"
)

// facts are what the kernel says about a descriptor.
type facts struct {
	family    family
	kind      kind
	protocol  int // of a raw socket; 0 if the platform does not report it
	listening bool
	connected bool
	v6only    bool
	address   netip.AddrPort // of an IP socket
	path      string         // of a unix socket; abstract names begin with "@"
	other     string         // what the descriptor is if it is not a socket of these families
}

// String describes the descriptor for error messages: "a connected IPv4 stream socket
// 127.0.0.1:80".
func (f facts) String() string {
	if f.other != "" {
		return f.other
	}
	state := ""
	switch {
	case f.listening:
		state = "listening "
	case f.connected:
		state = "connected "
	case f.kind == kindStream, f.kind == kindSeqpacket:
		state = "not listening "
	}
	article := "a "
	if state == "" && f.family != familyUnix {
		article = "an " // an IPv4 datagram socket
	}
	return strings.TrimRight(fmt.Sprintf("%s%s%s %s socket %s",
		article, state, f.family, f.kind, f.addressText()), " ")
}

// addressText returns the socket's own address as text.
func (f facts) addressText() string {
	if f.family == familyUnix {
		return f.path
	}
	if f.address.IsValid() {
		return f.address.String()
	}
	return ""
}

// servable reports whether the descriptor can be handed to a Listen function at all.
func (f facts) servable() bool {
	switch {
	case f.other != "":
		return false
	case f.kind == kindStream || f.kind == kindSeqpacket:
		return f.listening
	default:
		return !f.connected
	}
}

// target is a parsed Ask.
type target struct {
	family family // "" for both IP families
	prefer family // of a wildcard address, the family in which it is written
	kind   kind
	proto  int          // of a raw socket
	ips    []netip.Addr // none stands for all addresses
	port   uint16
	path   string
	// byAddress is false if the address means no particular socket (port 0, unix autobind).
	byAddress bool
}

// Protocol returns the part of a network's name before its colon: "ip4" for "ip4:icmp".
func Protocol(network string) string {
	name, _, _ := strings.Cut(network, ":")
	return name
}

// kindOf returns the address family and socket type of a network's name.
func kindOf(network string) (family, kind, error) {
	name, _, raw := strings.Cut(network, ":")
	switch name {
	case "tcp":
		return "", kindStream, nil
	case "tcp4":
		return familyInet, kindStream, nil
	case "tcp6":
		return familyInet6, kindStream, nil
	case "udp":
		return "", kindDatagram, nil
	case "udp4":
		return familyInet, kindDatagram, nil
	case "udp6":
		return familyInet6, kindDatagram, nil
	case "unix":
		return familyUnix, kindStream, nil
	case "unixpacket":
		return familyUnix, kindSeqpacket, nil
	case "unixgram":
		return familyUnix, kindDatagram, nil
	}
	if raw {
		switch name {
		case "ip":
			return "", kindRaw, nil
		case "ip4":
			return familyInet, kindRaw, nil
		case "ip6":
			return familyInet6, kindRaw, nil
		}
	}
	return "", "", net.UnknownNetworkError(network)
}

// samePath reports whether two unix sockets have the same path; an abstract name is not a path.
func samePath(a, b string) bool {
	if a == b {
		return true
	}
	if a == "" || b == "" || a[0] == '@' || b[0] == '@' {
		return false
	}
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return errA == nil && errB == nil && absA == absB
}

// matchesAddress reports whether a socket with these facts has the wanted address, whatever its
// kind.
func (t target) matchesAddress(f facts) bool {
	if t.family == familyUnix || f.family == familyUnix {
		return t.family == f.family && samePath(t.path, f.path)
	}
	if !f.address.IsValid() || f.address.Port() != t.port {
		return false
	}
	ip := f.address.Addr()
	if len(t.ips) == 0 {
		return ip.IsUnspecified()
	}
	for _, want := range t.ips {
		if want.Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

// fit returns how well a socket with a matching address serves the target; 0 means not at all. A
// socket of both families fits "tcp" best, and one of a single family fits "tcp4" and "tcp6" best;
// one that serves only IPv4 does not fit "tcp6".
func (t target) fit(f facts) int {
	if t.kind != f.kind || !f.servable() ||
		t.kind == kindRaw && f.protocol != 0 && t.proto != f.protocol {
		return 0
	}
	dual := f.family == familyInet6 && !f.v6only &&
		(f.address.Addr().IsUnspecified() || f.address.Addr().Is4In6())
	switch t.family {
	case familyUnix:
		return 3
	case familyInet:
		switch {
		case f.family == familyInet:
			return 3
		case dual:
			return 1
		}
		return 0
	case familyInet6:
		switch {
		case f.family != familyInet6:
			return 0
		case dual:
			return 1
		}
		return 3
	}
	switch {
	case dual, len(t.ips) > 0:
		return 3
	case f.family == t.prefer:
		return 2
	}
	return 1
}

// parsePort reads a decimal port; service names need a look-up.
func parsePort(port string) (uint16, bool) {
	n, err := strconv.ParseUint(port, 10, 16)
	return uint16(n), err == nil
}
