package gracehttp

import (
	"errors"
	"fmt"
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
	idleGrace *time.Duration
	stopDelay *time.Duration
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

// WithIdleGrace sets for how long a draining server keeps an HTTP/1 connection on which there is no request, so that one which
// comes by then is answered, and its client told to connect anew. It counts from the beginning of the drain, or from the last
// answer after that. Zero closes idle connections at once, on which requests may be on their way. It should be shorter than
// [grace.WithDrainTimeout], at whose end all connections are closed.
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

func duration(name string, d time.Duration, use func(*settings)) Option {
	return option{call: fmt.Sprintf("%s(%v)", name, d), set: func(set *settings) error {
		if d < 0 {
			return errors.New("the duration must not be negative")
		}
		use(set)
		return nil
	}}
}
