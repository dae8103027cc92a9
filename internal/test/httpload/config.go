package httpload

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"
)

// Config is what load there is. Zero values stand for the defaults.
type Config struct {
	Targets []Target // each gets all of it; there is no default
	Kinds   []string // names of [Kinds]; all of them by default, but "long-idle" only with LongIdle
	Copies  int      // clients of each kind for each target; 1 by default
	Streams int      // of an HTTP/2 client at a time; 3 by default

	// Pause is that of a client between two requests, unless its kind says otherwise; 5 ms by
	// default.
	Pause time.Duration
	// Idle is the pause of the kind "idle", which must be shorter than the idle grace of the
	// server; 500 ms by default.
	Idle time.Duration
	// LongIdle is the pause of the kind "long-idle", in plaintext: longer than the idle grace of a
	// server that hands connections over; none by default.
	LongIdle time.Duration
	Delay    time.Duration // between connecting and the first byte of "late"; 300 ms by default
	Step     time.Duration // between two pieces of a request, or some of its bytes; 1 ms by default
	Slow     time.Duration // until the Handler answers "slow"; 20 ms by default
	Stream   time.Duration // that the answer to "stream" lasts; 500 ms by default

	// Patience is for one answer, or the end of a connection after the last one; 30 s by default.
	Patience time.Duration
	// Limit is when the load ends by itself, which counts as a failure; 10 minutes by default.
	Limit time.Duration
}

// Target is where clients connect to.
type Target struct {
	Network string // "tcp" or "unix"
	Addr    string // with its port, or the path of the socket
	// TLS is nil for plaintext. Its ServerName is by default the host of Addr. It is not changed.
	TLS *tls.Config
	// Kinds are those of the Config's that connect here; all by default.
	Kinds []string
	// Wrapped says that the service wraps its connections, and so cannot hand them over. That their
	// clients have to connect again does not count.
	Wrapped bool
}

// String is a name for messages.
func (t Target) String() string {
	switch {
	case t.TLS != nil:
		return "tls"
	case t.Wrapped:
		return "wrapped"
	}
	return t.Network
}

// serves reports whether clients of a kind connect to the target.
func (t Target) serves(kind string) bool {
	if kind == longIdle && (t.TLS != nil || t.Wrapped) {
		return false
	}
	return len(t.Kinds) == 0 || slices.Contains(t.Kinds, kind)
}

// trust is the TLS configuration of a client that speaks one protocol.
func (t Target) trust(protocol string) *tls.Config {
	if t.TLS == nil {
		return nil
	}
	trust := t.TLS.Clone()
	trust.NextProtos = []string{protocol}
	if trust.ServerName == "" {
		// Without a host, the handshake fails and says so.
		trust.ServerName, _, _ = net.SplitHostPort(t.Addr)
	}
	return trust
}

// complete returns the configuration with its defaults.
func (c Config) complete() (Config, error) {
	if len(c.Targets) == 0 {
		return c, errors.New("httpload: there is no target")
	}
	c.Kinds = slices.Clone(c.Kinds)
	if len(c.Kinds) == 0 {
		c.Kinds = slices.DeleteFunc(Kinds(), func(name string) bool {
			return name == longIdle && c.LongIdle == 0
		})
	}
	if slices.Contains(c.Kinds, longIdle) && c.LongIdle == 0 {
		return c, fmt.Errorf("httpload: %q has no LongIdle", longIdle)
	}
	if err := c.checkKinds(); err != nil {
		return c, err
	}
	return c, errors.Join(
		orDefault(&c.Copies, 1), orDefault(&c.Streams, 3),
		orDefault(&c.Pause, 5*time.Millisecond), orDefault(&c.Idle, 500*time.Millisecond),
		orDefault(&c.LongIdle, 0),
		orDefault(&c.Delay, 300*time.Millisecond), orDefault(&c.Step, time.Millisecond),
		orDefault(&c.Slow, 20*time.Millisecond), orDefault(&c.Stream, 500*time.Millisecond),
		orDefault(&c.Patience, 30*time.Second), orDefault(&c.Limit, 10*time.Minute),
	)
}

// checkKinds returns an error if a kind is not known.
func (c Config) checkKinds() error {
	named := slices.Clone(c.Kinds)
	for _, t := range c.Targets {
		named = append(named, t.Kinds...)
	}
	for _, name := range named {
		if _, ok := kinds[name]; !ok {
			return fmt.Errorf("httpload: there is no kind %q, but %q", name, Kinds())
		}
	}
	return nil
}

func orDefault[T int | time.Duration](value *T, d T) error {
	switch {
	case *value < 0:
		return fmt.Errorf("httpload: %v is negative", *value)
	case *value == 0:
		*value = d
	}
	return nil
}

// Kinds returns the names of all kinds of clients.
func Kinds() []string {
	return slices.Sorted(maps.Keys(kinds))
}
