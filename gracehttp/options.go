package gracehttp

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// DefaultIdleGrace is the default of [WithIdleGrace].
const DefaultIdleGrace = 5 * time.Second

// Option changes how a server drains. Options print as the call that made them.
type Option interface {
	fmt.Stringer
	apply(*settings) error
}

// settings are what options have said; nil where they have said nothing.
type settings struct {
	idleGrace    *time.Duration
	stopDelay    *time.Duration
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

// rule tells when a connection of a server is idle. It is nil if idle connections are not to be handed over, or cannot be.
func (set settings) rule(srv *http.Server) (idleRule, error) {
	if !set.idleHandover {
		return nil, nil
	}
	return newIdleRule(srv)
}

type option struct {
	call string
	set  func(*settings) error
}

func (o option) String() string            { return o.call }
func (o option) apply(set *settings) error { return o.set(set) }

// WithIdleGrace sets for how long a draining server keeps an HTTP/1 connection on which there is no request, so that one which
// comes by then is answered, and its client told to connect anew. It counts from the beginning of the drain, or from the last
// answer after that. Zero closes idle connections at once, on which requests may be on their way. It should be shorter than
// [grace.WithDrainTimeout], at whose end all connections are closed.
//
// In HTTP/2, whose clients are told, it is for those of which nothing is heard, and at least a second.
//
// The default is 5 seconds. That is after how long Apache httpd, Node.js and uvicorn close idle connections by default, so clients
// and proxies that work with those never find out. Behind a proxy that keeps idle connections for longer and does not repeat a
// request that fails on one of them, it can be set to the proxy's keep-alive timeout (60 seconds in nginx and in the load
// balancers of AWS), together with a longer drain timeout.
func WithIdleGrace(d time.Duration) Option {
	return duration("WithIdleGrace", d, func(set *settings) { set.idleGrace = &d })
}

// WithStopDelay sets for how long the server goes on as before, new connections included, when the service stops without a
// successor, while [Readiness] says no: so that load balancers find out, and send their requests elsewhere, before the drain
// begins. It is a part of the drain timeout ([grace.WithDrainTimeout]) and must leave time for the drain itself. When a successor
// serves there is no delay, and none in a process that has had no connection yet. The default is 0.
func WithStopDelay(d time.Duration) Option {
	return duration("WithStopDelay", d, func(set *settings) { set.stopDelay = &d })
}

// WithIdleHandover hands the idle connections of clients to the successor, so that an upgrade does not even close them: those of
// plain HTTP/1 over TCP and unix sockets, between two requests. Connections on which a request is in progress follow when it is
// answered. All others (TLS, HTTP/2, hijacked ones, those of a listener that does not return connections of package net as they are)
// are closed politely, as without this option, and so is what the successor does not take. It should have the option too: without
// it, it takes the connections, and closes them politely at its own end.
//
// It is not the default, because an application can notice it: the connections that ConnState, ConnContext and hijackers get are
// no *net.TCPConn or *net.UnixConn, though they have their methods; ConnState reports StateClosed for a connection that lives on; and
// what the application remembers of a connection, such as a value in its context, is lost, since to the successor it is a new one.
//
// How to tell that a connection is idle is knowledge of how net/http works. So Serve first tries out that the net/http of this
// program works that way, in some milliseconds. If it does not, idle connections are closed politely, and an [IdleHandoverOff] says so
// to the observers.
func WithIdleHandover() Option {
	return option{call: "WithIdleHandover()", set: func(set *settings) error {
		set.idleHandover = true
		return nil
	}}
}

func duration(name string, d time.Duration, use func(*settings)) Option {
	return option{call: fmt.Sprintf("%s(%v)", name, d), set: func(set *settings) error {
		if d < 0 {
			return errors.New("the duration must not be negative")
		}
		use(set)
		return nil
	}}
}
