package fds

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// errBound ends the making of a socket by package net, which would call listen(2) next.
var errBound = errors.New("the socket was bound, and is not to listen yet")

// listenLater is listen for a listener that must not accept anything yet. If it shares its port
// (SO_REUSEPORT), it is bound, but does not listen before startListening: from then on the kernel
// gives it a share of the connections, which would be reset if this process failed.
func listenLater(ctx context.Context, ask Ask) (conn Conn, deferred bool, err error) {
	var bound *os.File
	config := ask.Config
	ask.Config.Control = func(network, address string, c syscall.RawConn) error {
		if bound != nil { // package net tries TCP after MPTCP
			return errBound
		}
		if err := config.Control(network, address, c); err != nil {
			return err
		}
		shared := false
		var bindErr error
		err := c.Control(func(fd uintptr) {
			if shared = sharesPort(int(fd)); shared {
				bound, bindErr = bindDuplicate(int(fd), network, address)
			}
		})
		if shared && bindErr == nil {
			return errors.Join(err, errBound)
		}
		return errors.Join(err, bindErr)
	}
	conn, err = listen(ctx, ask)
	if bound == nil {
		return conn, false, err
	}
	defer func() { _ = bound.Close() }()
	conn, err = fileConn(bound, true)
	return conn, true, err
}

func sharesPort(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	return err == nil && n != 0
}

// bindDuplicate binds a socket and returns a duplicate of its descriptor.
func bindDuplicate(fd int, network, address string) (*os.File, error) {
	sa, err := sockaddr(network, address)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(n), address), nil
}

// sockaddr reads an address in the form in which package net passes it to a Control. No host means
// all addresses; in a socket of both families, so does that of IPv4.
func sockaddr(network, address string) (unix.Sockaddr, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return nil, err
		}
	}
	switch {
	case network == "tcp4" && ip.IsUnspecified():
		return &unix.SockaddrInet4{Port: int(port)}, nil
	case network == "tcp4":
		return &unix.SockaddrInet4{Port: int(port), Addr: ip.Unmap().As4()}, nil
	case ip.IsUnspecified():
		return &unix.SockaddrInet6{Port: int(port)}, nil
	}
	return &unix.SockaddrInet6{
		Port: int(port), Addr: ip.As16(), ZoneId: zoneIndex(ip.Zone()),
	}, nil
}

func zoneIndex(zone string) uint32 {
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// startListening calls listen(2) for a socket of listenLater.
func startListening(c Conn) error { return Control(c, listenAgain) }
