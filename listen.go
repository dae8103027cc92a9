package grace

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/gate"
)

// ListenOption says more about one socket.
type ListenOption interface {
	applyListen(*fds.Ask) error
}

type listenOption func(*fds.Ask) error

func (o listenOption) applyListen(ask *fds.Ask) error { return o(ask) }

// Name gives the socket a name, by which it is found among inherited ones: first the sockets of that name that a service
// manager has passed, whatever their addresses (FileDescriptorName= in systemd.socket(5)), then those that the previous
// process had opened by the same name and address. It must be printable ASCII without colons, of at most 255 bytes.
//
// Sockets on port 0 that are opened in no fixed order need names, to be told apart by the next process.
func Name(name string) ListenOption {
	return listenOption(func(ask *fds.Ask) error {
		ask.Name = name
		return fds.CheckName(name)
	})
}

// ListenConfig sets how this socket is bound, and what keep-alive its connections have, instead of [WithListenConfig].
func ListenConfig(c net.ListenConfig) ListenOption {
	return listenOption(func(ask *fds.Ask) error {
		ask.Config = c
		return nil
	})
}

// Socket describes a socket that one of the Listen functions has returned.
type Socket struct {
	Name      string // as given by [Name]
	Network   string // as it was asked for
	Address   string // as it was asked for
	Addr      net.Addr
	Inherited bool // it came from another process
}

// Listen is [net.Listen] for the networks tcp, tcp4, tcp6, unix and unixpacket, except that it returns the socket that the
// previous process, or a service manager, has passed on, where one is what is asked for. In order of preference that is one
// with the same [Name]; one that the previous process has asked for in the same words (the nth on port 0 being the nth); one
// with the address that is asked for. [ErrWrongKind] is matched by the error if that socket is of another kind. A stale
// unix socket, left by a process that has crashed, is replaced.
//
// The context bounds the look-up of names and, while an upgrade is deciding whether it succeeds, the wait for its end: a
// socket that is opened then would not be handed over.
//
// The listener embeds a [*net.TCPListener] or [*net.UnixListener]. In a successor, its Accept waits
// until the handoff is committed. In the old process, Accept returns nothing more once a successor
// serves: when Upgrade returns nil, every new connection is the successor's. Accept, blocked or
// called later, then waits until the listener is closed, which the end of the drain does at the
// latest, or until its deadline passes. The Read of its RawConn waits likewise. A duplicate made by
// File does not wait.
//
// An inherited listener gives its connections the keep-alive of the ListenConfig, which package net
// forgets. The caller closes the listener; one that was closed is not handed over, and its port is
// free. The path of a unix socket is removed by Close, or when the process stops, unless the socket
// was handed over, or had been given to us by a service manager; SetUnlinkOnClose should not be
// called.
func (m *Manager) Listen(ctx context.Context, network, address string, opts ...ListenOption) (net.Listener, error) {
	sock, config, err := m.open(ctx, streams, network, address, opts)
	if err != nil {
		return nil, err
	}
	return gate.NewListener(sock, m.gate, config), nil
}

// ListenTCP is [net.ListenTCP] with a socket chosen as by [Manager.Listen]. The listener is the standard library's own, so
// it accepts at once, in a successor too, and has the default keep-alive if it is inherited.
func (m *Manager) ListenTCP(ctx context.Context, network string, laddr *net.TCPAddr, opts ...ListenOption) (*net.TCPListener, error) {
	sock, err := m.openBare(ctx, tcpNetworks, network, ipAddress(laddr == nil, laddr), opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.TCPListener), nil
}

// ListenUnix is [net.ListenUnix], for the networks unix and unixpacket, with a socket chosen as by [Manager.Listen]. The
// listener is the standard library's own, so it accepts at once, in a successor too. Closing it leaves its path, which is
// removed when the process stops without a successor that serves it.
func (m *Manager) ListenUnix(ctx context.Context, network string, laddr *net.UnixAddr, opts ...ListenOption) (*net.UnixListener, error) {
	if laddr == nil {
		return nil, listenError(fds.Ask{Network: network}, errMissingAddress)
	}
	sock, err := m.openBare(ctx, unixNetworks, network, laddr.Name, opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.UnixListener), nil
}

// ListenPacket is [net.ListenPacket] for the networks udp, udp4, udp6, unixgram and ip:protocol, with a socket chosen as by
// [Manager.Listen].
//
// The connection embeds a [*net.UDPConn], [*net.UnixConn] or [*net.IPConn]. Two processes that read
// one socket take each other's packets. In a successor, the methods that read therefore wait until
// the handoff is committed. In the old process they return nothing more once a successor serves:
// when Upgrade returns nil, every new packet is the successor's. A read, blocked or begun later,
// then waits until the connection is closed, or until its deadline passes. So does the Read of its
// RawConn, with which libraries read many packets at once. Writes go on: the old process should
// answer what it has read before it closes the connection.
func (m *Manager) ListenPacket(ctx context.Context, network, address string, opts ...ListenOption) (net.PacketConn, error) {
	sock, _, err := m.open(ctx, packets, network, address, opts)
	if err != nil {
		return nil, err
	}
	return gate.NewPacketConn(sock, m.gate), nil
}

// ListenUDP is [net.ListenUDP] with a socket chosen as by [Manager.Listen]. The connection is the standard library's own, so
// it reads at once, in a successor too.
func (m *Manager) ListenUDP(ctx context.Context, network string, laddr *net.UDPAddr, opts ...ListenOption) (*net.UDPConn, error) {
	sock, err := m.openBare(ctx, udpNetworks, network, ipAddress(laddr == nil, laddr), opts)
	if err != nil {
		return nil, err
	}
	return sock.Conn().(*net.UDPConn), nil
}

// ListenUnixgram is [net.ListenUnixgram] with a socket chosen as by [Manager.Listen]. The connection is the standard
// library's own, so it reads at once, in a successor too. Its path is removed when the process stops without a successor.
func (m *Manager) ListenUnixgram(ctx context.Context, network string, laddr *net.UnixAddr, opts ...ListenOption) (*net.UnixConn, error) {
	if laddr == nil {
		return nil, listenError(fds.Ask{Network: network}, errMissingAddress)
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

// ipAddress gives an address of a typed Listen function the form of [net.Listen]; nil is any port.
func ipAddress(isNil bool, a net.Addr) string {
	if isNil {
		return ":0"
	}
	return a.String()
}

var errMissingAddress = &net.AddrError{Err: "missing address"}

// openBare opens a socket of which the caller gets the standard library's own listener or connection.
func (m *Manager) openBare(ctx context.Context, networks []string, network, address string, opts []ListenOption) (*fds.Socket, error) {
	sock, _, err := m.open(ctx, networks, network, address, append(slices.Clip(opts), bare))
	return sock, err
}

var bare = listenOption(func(ask *fds.Ask) error {
	ask.Bare = true
	return nil
})

// open is what all Listen functions have in common.
func (m *Manager) open(ctx context.Context, networks []string, network, address string, opts []ListenOption) (*fds.Socket, net.ListenConfig, error) {
	ask := fds.Ask{Network: network, Address: address, Config: m.opts.listenConfig}
	for _, opt := range opts {
		if err := opt.applyListen(&ask); err != nil {
			return nil, ask.Config, listenError(ask, err)
		}
	}
	if !slices.Contains(networks, fds.Protocol(network)) {
		return nil, ask.Config, listenError(ask, net.UnknownNetworkError(network))
	}
	sock, err := m.sockets.Open(ctx, ask)
	if err != nil {
		return nil, ask.Config, listenError(ask, err)
	}
	if len(m.opts.observers) > 0 {
		m.emit(SocketOpened{Socket: describeSocket(sock)})
	}
	return sock, ask.Config, nil
}

// listenError has the form of the errors of package net.
func listenError(ask fds.Ask, err error) error {
	if op, ok := err.(*net.OpError); ok { //nolint:errorlint // only one that is not wrapped says it all
		return op
	}
	return &net.OpError{Op: "listen", Net: ask.Network, Addr: askedAddr{ask}, Err: err}
}

// askedAddr shows an address as it was asked for.
type askedAddr struct{ ask fds.Ask }

func (a askedAddr) Network() string { return a.ask.Network }
func (a askedAddr) String() string  { return a.ask.Address }

// shutTimeout bounds the wait for calls that take something from the system. They end at once,
// unless they block a thread.
const shutTimeout = time.Second

// shutGate ends accepting and reading in this process, because a successor serves.
func (m *Manager) shutGate() {
	ctx, cancel := context.WithTimeoutCause(context.Background(), shutTimeout, ErrTimeout)
	defer cancel()
	if err := m.gate.Shut(ctx); err != nil {
		m.emit(Warned{err})
	}
}

func describeSocket(s *fds.Socket) Socket {
	r := s.Record()
	return Socket{Name: r.Name, Network: r.Network, Address: r.Address, Addr: s.Addr(), Inherited: s.Inherited()}
}
