package grace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/signals"
	"github.com/go-grace/grace/internal/wiring"
)

// Option changes how a [Manager] works. A later option overrides an earlier one of the same name,
// except that every observer is told. Options print as the call that made them.
type Option interface {
	fmt.Stringer
	apply(*options) error
}

// Defaults of the options.
const (
	DefaultUpgradeTimeout = time.Minute
	DefaultDrainTimeout   = 30 * time.Second
	DefaultMaxDraining    = 4
)

// options are the settings of a Manager.
type options struct {
	observers        []graceevent.Observer
	listenConfig     net.ListenConfig
	upgradeTimeout   time.Duration
	drainTimeout     time.Duration
	stopDelay        time.Duration
	leaveConnections bool
	maxDraining      int
	endOldest        bool
	probation        time.Duration
	healthCheck      func(context.Context, Process) error
	pidFile          string
	ignoreContainer  bool
	upgradeSignals   []os.Signal
	shutdownSignals  []os.Signal
	executable       string
	args             []string // without the program's name
	dir              string
	env              func(context.Context, []string) ([]string, error)
	check            func(ctx context.Context, path string) error // nil: no check
	wires            wiring.Wiring
}

func newOptions(opts []Option) (options, error) {
	o := options{
		upgradeTimeout:  DefaultUpgradeTimeout,
		drainTimeout:    DefaultDrainTimeout,
		maxDraining:     DefaultMaxDraining,
		upgradeSignals:  signals.Defaults(signals.Upgrade),
		shutdownSignals: signals.Defaults([]os.Signal{syscall.SIGTERM, os.Interrupt}),
		args:            cloneAll(os.Args[min(1, len(os.Args)):]),
	}
	var errs []error
	for _, opt := range opts {
		if opt == nil {
			errs = append(errs, errors.New("grace: an Option is nil"))
			continue
		}
		if err := opt.apply(&o); err != nil {
			errs = append(errs, fmt.Errorf("grace: %s: %w", opt, err))
		}
	}
	return o, errors.Join(append(errs, o.conflicts()...)...)
}

// conflicts returns what is wrong between options that are right by themselves.
func (o options) conflicts() (errs []error) {
	for _, sig := range o.upgradeSignals {
		if slices.Contains(o.shutdownSignals, sig) {
			errs = append(errs, fmt.Errorf(
				"grace: %s is both in WithUpgradeSignals and in WithShutdownSignals", sig))
		}
	}
	if o.stopDelay > 0 && o.stopDelay >= o.drainTimeout {
		errs = append(errs, fmt.Errorf("grace: WithStopDelay(%v) leaves no time for the drain:"+
			" it is a part of the drain timeout, which is %v (see WithDrainTimeout)",
			o.stopDelay, o.drainTimeout))
	}
	return errs
}

// option is what functions named With... return.
type option struct {
	call string
	set  func(*options) error
}

func (o option) String() string          { return o.call }
func (o option) apply(to *options) error { return o.set(to) }

func newOption(name string, set func(*options) error, values ...any) option {
	shown := make([]string, len(values))
	for i, v := range values {
		shown[i] = fmt.Sprint(v)
	}
	return option{call: name + "(" + strings.Join(shown, ", ") + ")", set: set}
}

// WithLogger logs every event to the logger, see [graceevent.Logger]. By default nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return newOption("WithLogger", func(o *options) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		o.observers = append(o.observers, graceevent.Logger(l))
		return nil
	})
}

// WithObserver tells the observer of every event. Observers cannot wait for the Manager that tells
// them, see [ErrCallback].
func WithObserver(obs graceevent.Observer) Option {
	return newOption("WithObserver", func(o *options) error {
		if obs == nil {
			return errors.New("the observer is nil")
		}
		o.observers = append(o.observers, obs)
		return nil
	})
}

// WithUpgradeTimeout bounds how long a successor may take to become ready, the OnUpgrade hooks and
// the check of [WithCheck] included. It must be positive; the default is one minute.
func WithUpgradeTimeout(d time.Duration) Option {
	return newOption("WithUpgradeTimeout", func(o *options) error {
		o.upgradeTimeout = d
		return positive(d)
	}, d)
}

// WithDrainTimeout bounds how long a process may take to finish its work, when a successor serves
// or the service stops: the OnDrain hooks, which run side by side, and then the wait for the
// connections that were accepted from its listeners. Connections that are open at the end are cut,
// by the end of the process; [graceevent.DrainFinished] counts them. It must be positive; the
// default is 30 seconds.
func WithDrainTimeout(d time.Duration) Option {
	return newOption("WithDrainTimeout", func(o *options) error {
		o.drainTimeout = d
		return positive(d)
	}, d)
}

// WithStopDelay lets the service go on as before for a while, new connections included, when it
// stops without a successor, and only then drain. Meanwhile its [State] is [StateStopping] and
// gracehttp.Readiness says no, so that load balancers find out and send their requests elsewhere;
// [Manager.Stopping] is closed. It is a part of the drain timeout (see [WithDrainTimeout]) and must
// be shorter. A process that does not serve stops at once, and so does one that is replaced: there
// is nothing to find out. It must not be negative; the default is 0.
func WithStopDelay(d time.Duration) Option {
	return newOption("WithStopDelay", func(o *options) error {
		o.stopDelay = d
		return notNegative(d)
	}, d)
}

// WithoutConnectionWait ends the drain when the OnDrain hooks and the functions of [Manager.Go]
// have returned, whatever connections are still open. By default the drain also waits for every
// connection that was accepted from a listener of the Manager.
func WithoutConnectionWait() Option {
	return newOption("WithoutConnectionWait", func(o *options) error {
		o.leaveConnections = true
		return nil
	})
}

// DrainingOption says more about older generations, see [WithMaxDraining].
type DrainingOption interface {
	fmt.Stringer
	applyDraining(*options)
}

type drainingOption struct {
	call string
	set  func(*options)
}

func (o drainingOption) String() string            { return o.call }
func (o drainingOption) applyDraining(to *options) { o.set(to) }

// WithMaxDraining sets how many older generations may drain at once, each of which holds the memory
// of a process. An upgrade that would lead to more fails with [ErrTooManyDraining], unless it may
// end the oldest ([WithEndOldest]). It must be positive; the default is 4. With 1, an upgrade has
// to wait for the end of the previous one's drain.
func WithMaxDraining(n int, opts ...DrainingOption) Option {
	return newOption("WithMaxDraining", func(o *options) error {
		if n <= 0 {
			return fmt.Errorf("%d is not positive", n)
		}
		o.maxDraining, o.endOldest = n, false
		return each(opts, func(opt DrainingOption) error {
			opt.applyDraining(o)
			return nil
		})
	}, append([]any{n}, anys(opts)...)...)
}

// WithEndOldest lets an upgrade end the oldest generation instead of failing with
// [ErrTooManyDraining]. That one is told to finish its drain at once: the contexts of its OnDrain
// hooks end. If it has not left after 5 seconds, it is signalled, see OnParentKill in [Hook].
func WithEndOldest() DrainingOption {
	return drainingOption{"WithEndOldest()", func(o *options) { o.endOldest = true }}
}

// ProbationOption says more about a probation, see [WithProbation].
type ProbationOption interface {
	fmt.Stringer
	applyProbation(*options) error
}

type probationOption struct {
	call string
	set  func(*options) error
}

func (o probationOption) String() string                   { return o.call }
func (o probationOption) applyProbation(to *options) error { return o.set(to) }

// WithProbation lets a successor accept connections for a while, beside this process, before the
// handoff is committed. If it ends or calls [Manager.Fail] meanwhile, or [WithHealthCheck] finds it
// ill, the upgrade has failed, and this process keeps serving alone. It must not be negative; the
// default is 0: the handoff is committed as soon as the successor is ready.
func WithProbation(d time.Duration, opts ...ProbationOption) Option {
	return newOption("WithProbation", func(o *options) error {
		o.probation, o.healthCheck = d, nil
		if err := notNegative(d); err != nil {
			return err
		}
		if d == 0 && len(opts) > 0 {
			return errors.New("without a duration there is no probation for the options in it")
		}
		return each(opts, func(opt ProbationOption) error { return opt.applyProbation(o) })
	}, append([]any{d}, anys(opts)...)...)
}

// WithHealthCheck asks a function about the successor during the probation: five times, evenly
// spaced, beginning at once. Each answer is due when the next question is, or a second later than
// its own if that is later. An error, or an answer that does not come in time, fails the upgrade.
// The function runs in the old process, and should look at the new one and not at the service,
// whose connections both accept. A successor can be reached by a socket of its own that is named
// after its PID and opened by package net, not by the Manager: see the example.
func WithHealthCheck(check func(ctx context.Context, successor Process) error) ProbationOption {
	return probationOption{"WithHealthCheck()", func(o *options) error {
		if check == nil {
			return errors.New("WithHealthCheck: the function is nil")
		}
		o.healthCheck = check
		return nil
	}}
}

// WithPIDFile keeps the number of the serving process in a file: for service managers that cannot
// be told of a new main process in another way. The file is replaced atomically, never before a
// handoff is committed, and removed at the end if it still names this process. Its directory must
// exist. By default there is no file.
func WithPIDFile(path string) Option {
	return newOption("WithPIDFile", func(o *options) (err error) {
		if path == "" {
			return errors.New("the path is empty")
		}
		o.pidFile, err = filepath.Abs(strings.Clone(path))
		return err
	}, path)
}

// WithUpgradeSignals sets the signals on which [Manager.Run] upgrades; none of them if called
// without any. The default is SIGHUP and SIGUSR2, and none on Windows; SIGHUP is left ignored in a
// process that was started to ignore it, as by nohup(1).
//
// A SIGHUP by which the kernel says that a terminal has closed is not a request. A process that
// leads the session of a terminal (as in a window of its own, or under ssh -t or docker run -t)
// shuts down at the first SIGHUP after the terminal is gone. A process in the foreground of such a
// session, as its successor is, ignores the SIGHUP that follows the exit of the leader. A shell
// that exits may send its jobs a SIGHUP that cannot be told from a request: start the service by nohup,
// setsid or a service manager, or choose other signals.
func WithUpgradeSignals(sigs ...os.Signal) Option {
	return newOption("WithUpgradeSignals", func(o *options) error {
		o.upgradeSignals = slices.Clone(sigs)
		return checkSignals(sigs)
	}, anys(sigs)...)
}

// WithShutdownSignals sets the signals on which [Manager.Run] shuts down; none of them if called
// without any. The default is SIGTERM and SIGINT; SIGINT is left ignored in a process that was
// started to ignore it, as a shell starts its background jobs.
//
// They are claimed in [New], so that one that comes early is not fatal. A program that calls
// [Manager.Ready] instead of Run owns its signals: Ready releases them, with an event that says so,
// and what has come meanwhile comes again, to the program's own [os/signal.Notify] or to the
// default action.
func WithShutdownSignals(sigs ...os.Signal) Option {
	return newOption("WithShutdownSignals", func(o *options) error {
		o.shutdownSignals = slices.Clone(sigs)
		return checkSignals(sigs)
	}, anys(sigs)...)
}

func checkSignals(sigs []os.Signal) error {
	for _, sig := range sigs {
		switch {
		case sig == nil, sig == syscall.Signal(0):
			return errors.New("a signal is nil or zero")
		case !signals.Catchable(sig):
			return fmt.Errorf("no process can catch %s", sig)
		}
	}
	return nil
}

func positive(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%v is not positive", d)
	}
	return nil
}

func notNegative(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%v is negative", d)
	}
	return nil
}

// each calls apply for options within an option.
func each[T comparable](opts []T, apply func(T) error) error {
	var none T
	for _, opt := range opts {
		if opt == none {
			return errors.New("an option in it is nil")
		}
		if err := apply(opt); err != nil {
			return err
		}
	}
	return nil
}

func anys[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
