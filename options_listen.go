package grace

import (
	"fmt"
	"net"
	"strings"

	"github.com/go-grace/grace/internal/fds"
)

// ListenOption says more about one socket. Options print as the call that made them.
type ListenOption interface {
	fmt.Stringer
	applyListen(*fds.Ask) error
}

type listenOption struct {
	call string
	set  func(*fds.Ask) error
}

func (o listenOption) String() string                 { return o.call }
func (o listenOption) applyListen(ask *fds.Ask) error { return o.set(ask) }

// WithName gives the socket a name, by which it is found among inherited ones: first the sockets of
// that name that a service manager has passed, whatever their addresses (FileDescriptorName= in
// systemd.socket(5)), then those that the previous process had opened by the same name and address.
// It must be printable ASCII without colons, of at most 255 bytes.
//
// Sockets on port 0 that are opened in no fixed order need names, to be told apart by the next
// process.
func WithName(name string) ListenOption {
	return listenOption{call: fmt.Sprintf("WithName(%q)", name), set: func(ask *fds.Ask) error {
		ask.Name = strings.Clone(name)
		return fds.CheckName(name)
	}}
}

// ListenConfigOption is an option of [New], for all sockets, and of each Listen function, for one.
type ListenConfigOption interface {
	Option
	ListenOption
}

type listenConfigOption struct {
	option
	config net.ListenConfig
}

func (o listenConfigOption) applyListen(ask *fds.Ask) error {
	ask.Config = o.config
	return nil
}

// WithListenConfig sets how new sockets are bound, and which keep-alive the connections of a
// listener have, even of an inherited one. The default is the zero [net.ListenConfig]. As an option
// of [New] it is for all sockets; as one of a Listen function, for that socket instead.
//
// An inherited socket keeps the options that it has. On Linux its Control also decides which one is
// meant, if several are alike: by the device (SO_BINDTODEVICE), mark, transparency and IPV6_V6ONLY
// that it sets, and by the network namespace of the thread. A socket of another device or
// namespace, or whose device is gone, is not taken over, and a new one is bound; but a socket of
// another device is taken over if its address is in use by it. To find that out, Control is called
// once more, for a socket that is never bound, while there are inherited sockets that nobody has
// asked for (not for unix sockets). If it fails then, as it may without the privileges of the first
// process, names have to tell such sockets apart ([WithName]); otherwise the error matches
// [ErrAmbiguous].
//
// The kernel gives each socket of an SO_REUSEPORT group its own share of the clients, and resets
// those that wait in the queue of one that is closed. On Linux, a new listener of [Manager.Listen]
// therefore joins the group of the old process only when the successor accepts connections, and a
// successor that fails before that resets nobody. Nothing protects the queue of a listener that the
// next version no longer asks for, that fails on probation, or of a packet socket, which joins when
// it is bound: the sysctl net.ipv4.tcp_migrate_req moves waiting TCP clients within the group.
func WithListenConfig(c net.ListenConfig) ListenConfigOption {
	set := func(o *options) error {
		o.listenConfig = c
		return nil
	}
	return listenConfigOption{newOption("WithListenConfig", set), c}
}
