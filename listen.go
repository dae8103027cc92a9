package grace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/gate"
)

// Socket describes a socket that one of the Listen functions has returned.
type Socket = graceevent.Socket

// Listen is [net.Listen] for the networks tcp, tcp4, tcp6, unix and unixpacket, except that it
// returns the socket that the previous process, or a service manager, has passed on, if that is
// what is asked for: in order of preference one with the same name ([WithName]), one that the
// previous process has asked for in the same words (the nth on port 0 being the nth), one with the
// address that is asked for. So a program calls it in the same way whether it is the first process,
// a successor, or was started by socket activation (sd_listen_fds(3)). It should do so before
// Ready: inherited sockets that nobody has asked for by then are closed, because their clients
// would wait forever.
//
// [ErrWrongKind] is matched by the error if the inherited socket is of another kind. The path of a
// unix socket that a crashed process has left, and on which nobody answers, is replaced. The
// context bounds the look-up of names and, while an upgrade is under way, the wait for its end: a
// socket that is opened then would not be handed over.
//
// The path of an inherited unix socket may have been removed meanwhile, or replaced: no client
// finds that socket any more. Then a new one is bound to the path by the same rule, so that it is
// never taken from a process that answers. A warning says so, and an error if it cannot be done
// (graceevent.PathRebound, PathLost). A relative path means that of the directory in which it is
// asked for, in each process.
//
// The listener embeds a [*net.TCPListener] or [*net.UnixListener]. Its Accept waits in a successor
// until the handoff is committed. In the old process it takes nothing more from the commit on: it
// waits until the listener is closed, which the drain does, or until the deadline passes. What
// is done with a duplicate made by File, or with the descriptor inside of RawConn.Control, does not
// wait. An inherited listener gives its connections the keep-alive of [WithListenConfig], which
// package net forgets (golang.org/issue/23378).
//
// The caller may close the listener; one that is closed is not handed over, and its port is free. A
// unix socket keeps its path as long as some generation serves it; the path is removed by Close, or
// when the service stops, never if a service manager has made it. SetUnlinkOnClose should not be
// called.
func (m *Manager) Listen(
	ctx context.Context, network, address string, opts ...ListenOption,
) (net.Listener, error) {
	ask, err := m.ask(ctx, streams, network, address, opts)
	if err != nil {
		return nil, err
	}
	sock, err := m.open(ctx, ask)
	if err != nil {
		return nil, err
	}
	return gate.NewListener(sock, m.gate, ask.Config), nil
}

// ListenTCP is [net.ListenTCP] with a socket chosen as by [Manager.Listen]. The listener is the
// standard library's own: it accepts until it is closed, in a successor before the commit and in
// the old process after it, and if it is inherited its connections have the default keep-alive.
func (m *Manager) ListenTCP(
	ctx context.Context, network string, laddr *net.TCPAddr, opts ...ListenOption,
) (*net.TCPListener, error) {
	sock, err := m.openBare(ctx, tcpNetworks, network, ipAddress(laddr == nil, laddr), opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.TCPListener), nil
}

// ListenUnix is [net.ListenUnix], for the networks unix and unixpacket, with a socket chosen as by
// [Manager.Listen]. The listener is the standard library's own, see [Manager.ListenTCP]. Closing it
// leaves its path, which is removed when the process stops without a successor that serves it.
func (m *Manager) ListenUnix(
	ctx context.Context, network string, laddr *net.UnixAddr, opts ...ListenOption,
) (*net.UnixListener, error) {
	if laddr == nil {
		return nil, m.listenFailed(ctx, fds.Ask{Network: network}, errMissingAddress)
	}
	sock, err := m.openBare(ctx, unixNetworks, network, laddr.Name, opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.UnixListener), nil
}

// ListenPacket is [net.ListenPacket] for the networks udp, udp4, udp6, unixgram and ip:protocol,
// with a socket chosen as by [Manager.Listen].
//
// The connection embeds a [*net.UDPConn], [*net.UnixConn] or [*net.IPConn]. Two processes that read
// one socket take each other's packets, so its methods that read, and the Read of its RawConn, wait
// as Accept does: in a successor until the handoff is committed, and in the old process from then
// on. So libraries that read in batches by the RawConn wait too. What they do inside of
// RawConn.Control, or with a duplicate made by File, cannot be held back. Writes go on: what was
// read can be answered until the end of the drain, which closes it.
//
// An inherited socket is still a member of the multicast groups that it has joined: to join one
// again fails with EADDRINUSE, which a successor should ignore.
func (m *Manager) ListenPacket(
	ctx context.Context, network, address string, opts ...ListenOption,
) (net.PacketConn, error) {
	ask, err := m.ask(ctx, packets, network, address, opts)
	if err != nil {
		return nil, err
	}
	sock, err := m.open(ctx, ask)
	if err != nil {
		return nil, err
	}
	return gate.NewPacketConn(sock, m.gate), nil
}

// ListenUDP is [net.ListenUDP] with a socket chosen as by [Manager.Listen]. The connection is the
// standard library's own: it reads until it is closed, see [Manager.ListenTCP].
func (m *Manager) ListenUDP(
	ctx context.Context, network string, laddr *net.UDPAddr, opts ...ListenOption,
) (*net.UDPConn, error) {
	sock, err := m.openBare(ctx, udpNetworks, network, ipAddress(laddr == nil, laddr), opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.UDPConn), nil
}

// ListenUnixgram is [net.ListenUnixgram] with a socket chosen as by [Manager.Listen]. The
// connection is the standard library's own: it reads until it is closed, see [Manager.ListenTCP].
// Its path is removed when the process stops without a successor.
func (m *Manager) ListenUnixgram(
	ctx context.Context, network string, laddr *net.UnixAddr, opts ...ListenOption,
) (*net.UnixConn, error) {
	if laddr == nil {
		return nil, m.listenFailed(ctx, fds.Ask{Network: network}, errMissingAddress)
	}
	sock, err := m.openBare(ctx, unixgramNetworks, network, laddr.Name, opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.UnixConn), nil
}

// The networks that a function takes.
var (
	tcpNetworks      = []string{"tcp", "tcp4", "tcp6"}
	unixNetworks     = []string{"unix", "unixpacket"}
	udpNetworks      = []string{"udp", "udp4", "udp6"}
	unixgramNetworks = []string{"unixgram"}
	streams          = slices.Concat(tcpNetworks, unixNetworks)
	packets          = slices.Concat(udpNetworks, unixgramNetworks, []string{"ip", "ip4", "ip6"})
)

// ipAddress returns the address of a typed Listen function in the form of [net.Listen]; nil is any
// port.
func ipAddress(isNil bool, a net.Addr) string {
	if isNil {
		return ":0"
	}
	return a.String()
}

var errMissingAddress = &net.AddrError{Err: "missing address"}

// ask puts the arguments of a Listen function together, and checks them.
func (m *Manager) ask(
	ctx context.Context, networks []string, network, address string, opts []ListenOption,
) (fds.Ask, error) {
	ask := fds.Ask{
		// Copies: a program may overwrite the memory of its arguments and environment.
		Network: strings.Clone(network), Address: strings.Clone(address),
		Config: m.opts.listenConfig,
	}
	for _, opt := range opts {
		if opt == nil {
			return ask, m.listenFailed(ctx, ask, errors.New("a ListenOption is nil"))
		}
		if err := opt.applyListen(&ask); err != nil {
			return ask, m.listenFailed(ctx, ask, fmt.Errorf("%s: %w", opt, err))
		}
	}
	if !slices.Contains(networks, fds.Protocol(network)) {
		return ask, m.listenFailed(ctx, ask, net.UnknownNetworkError(network))
	}
	return ask, nil
}

// openBare opens a socket of which the caller gets the standard library's own listener or
// connection.
func (m *Manager) openBare(
	ctx context.Context, networks []string, network, address string, opts []ListenOption,
) (*fds.Socket, error) {
	ask, err := m.ask(ctx, networks, network, address, opts)
	if err != nil {
		return nil, err
	}
	ask.Bare = true
	return m.open(ctx, ask)
}

// open opens a socket, and tells the observers.
func (m *Manager) open(ctx context.Context, ask fds.Ask) (*fds.Socket, error) {
	if m.sockets.Lent() && inObserver() {
		return nil, m.listenFailed(ctx, ask, ErrCallback)
	}
	sock, err := m.sockets.Open(ctx, ask)
	if err != nil {
		return nil, m.listenFailed(ctx, ask, err)
	}
	if len(m.opts.observers) > 0 {
		m.emitHere(ctx, graceevent.SocketOpened{Socket: describeSocket(sock)})
	}
	switch path, rebound, err := sock.LostPath(); {
	case rebound:
		m.emit(ctx, graceevent.PathRebound{Path: path, Err: err})
	case err != nil:
		m.emit(ctx, graceevent.PathLost{Path: path, Err: err})
	}
	return sock, nil
}

// listenFailed returns an error in the form of package net, and tells the observers, unless it only
// says that this process no longer serves, or that an observer has called.
func (m *Manager) listenFailed(ctx context.Context, ask fds.Ask, err error) error {
	op, ok := err.(*net.OpError) //nolint:errorlint // only one that is not wrapped says it all
	if !ok {
		op = &net.OpError{Op: "listen", Net: ask.Network, Addr: askedAddr{ask}, Err: err}
	}
	if ok && errors.Is(err, syscall.EADDRINUSE) {
		op.Err = fmt.Errorf("%w: another socket has it, perhaps of an older process of this "+
			"service: find it by ss -lntup or lsof -i", op.Err)
	}
	if !errors.Is(err, ErrUpgraded) && !errors.Is(err, ErrShutdown) && !errors.Is(err, ErrCallback) {
		m.emitHere(ctx, graceevent.ListenFailed{Network: ask.Network, Address: ask.Address, Err: op})
	}
	return op
}

// askedAddr shows an address as it was asked for.
type askedAddr struct{ ask fds.Ask }

func (a askedAddr) Network() string { return a.ask.Network }
func (a askedAddr) String() string  { return a.ask.Address }

func describeSocket(s *fds.Socket) Socket {
	r := s.Record()
	return Socket{
		Name: r.Name, Network: r.Network, Address: r.Address,
		Addr: s.Addr(), Inherited: s.Inherited(),
	}
}
