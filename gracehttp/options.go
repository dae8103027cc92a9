package gracehttp

import (
	"errors"
	"fmt"
	"time"
)

// DefaultIdleGrace is the default of [WithIdleGrace].
const DefaultIdleGrace = 5 * time.Second

// Option changes how a server drains. An Option prints as the call that made it.
type Option interface {
	fmt.Stringer
	apply(*settings) error
}

// settings are the values set by options; nil where no option has set one.
type settings struct {
	idleGrace    *time.Duration
	idleHandover bool
}

func newSettings(opts []Option) (settings, error) {
	var set settings
	var errs []error
	for _, opt := range opts {
		if opt == nil {
			errs = append(errs, errors.New("gracehttp: an Option is nil"))
			continue
		}
		if err := opt.apply(&set); err != nil {
			errs = append(errs, fmt.Errorf("gracehttp: %s: %w", opt, err))
		}
	}
	return set, errors.Join(errs...)
}

type option struct {
	call string
	set  func(*settings) error
}

func (o option) String() string            { return o.call }
func (o option) apply(set *settings) error { return o.set(set) }

// WithIdleGrace sets the grace period: how long a draining server keeps an HTTP/1 connection
// without a request. A request that arrives in that time is answered, and its client told to
// connect again. The period begins with the drain, and again with the last response after that.
// Zero closes idle connections at once, though requests may be on their way. The period should be
// shorter than [grace.WithDrainTimeout], at whose end all connections are closed.
//
// HTTP/2 clients are told of the drain. For them the period applies to those that are silent, and
// is at least a second.
//
// The default is 5 seconds. By default Apache httpd, Node.js and uvicorn close idle connections
// after that time, so clients and proxies that work with those are never affected. A proxy may keep
// idle connections for longer, and not repeat a request that fails on one. Behind such a proxy, set
// the period to its keep-alive timeout (60 seconds in nginx and in the load balancers of AWS), and
// a longer drain timeout.
func WithIdleGrace(d time.Duration) Option {
	return option{call: fmt.Sprintf("WithIdleGrace(%v)", d), set: func(set *settings) error {
		if d < 0 {
			return errors.New("the duration must not be negative")
		}
		set.idleGrace = &d
		return nil
	}}
}

// WithIdleHandover hands the idle connections of clients to the successor, so that an upgrade does
// not even close them: those of plain HTTP/1 over TCP and unix sockets, between two requests. A
// connection with a request in progress follows after the response.
//
// All other connections are closed politely, as without this option: those with TLS, HTTP/2 or a
// hijacker, and those of a listener that does not return connections of package net as they are. So
// are those that the successor does not take. The successor should have the option too. Without it,
// the successor takes the connections and closes them politely when it is replaced itself.
//
// The option is not the default because an application can notice it. Connections passed to
// ConnState, ConnContext and hijackers are not a *net.TCPConn or *net.UnixConn, though they have
// the same methods. ConnState reports StateClosed for a connection that lives on. Whatever the
// application remembers of a connection, such as a value in its context, is lost: to the successor
// the connection is new.
//
// The option relies on how net/http works to tell that a connection is idle. So [Start] first
// tests, in some milliseconds, that the net/http of this program works that way. If it does not,
// the server closes idle connections politely and reports an [IdleHandoverOff] to the observers.
func WithIdleHandover() Option {
	return option{call: "WithIdleHandover()", set: func(set *settings) error {
		set.idleHandover = true
		return nil
	}}
}
