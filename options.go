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
)

// Option changes how a [Manager] works. A later option overrides an earlier one of the same name, except that every
// observer is told. Options print as the call that made them.
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
	observers       []Observer
	listenConfig    net.ListenConfig
	upgradeTimeout  time.Duration
	drainTimeout    time.Duration
	maxDraining     int
	endOldest       bool
	probation       time.Duration
	healthCheck     func(context.Context, Process) error
	pidFile         string
	upgradeSignals  []os.Signal
	shutdownSignals []os.Signal
	executable      string
	args            []string // without the program's name
	dir             string
	env             func(context.Context) ([]string, error)
	check           func(ctx context.Context, path string) error // nil: no check
}

func newOptions(opts []Option) (options, error) {
	o := options{
		upgradeTimeout:  DefaultUpgradeTimeout,
		drainTimeout:    DefaultDrainTimeout,
		maxDraining:     DefaultMaxDraining,
		upgradeSignals:  defaultUpgradeSignals(),
		shutdownSignals: []os.Signal{syscall.SIGTERM, os.Interrupt},
		args:            slices.Clone(os.Args[min(1, len(os.Args)):]),
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
	for _, sig := range o.upgradeSignals {
		if slices.Contains(o.shutdownSignals, sig) {
			errs = append(errs, fmt.Errorf("grace: %s is both in WithUpgradeSignals and in WithShutdownSignals", sig))
		}
	}
	if o.healthCheck != nil && o.probation == 0 {
		errs = append(errs, errors.New("grace: WithHealthCheck needs WithProbation: it is asked during the probation"))
	}
	return o, errors.Join(errs...)
}

// option is what all functions named With... return.
type option struct {
	call string
	set  func(*options) error
}

func (o option) String() string          { return o.call }
func (o option) apply(to *options) error { return o.set(to) }

func newOption(name string, set func(*options) error, values ...any) Option {
	shown := make([]string, len(values))
	for i, v := range values {
		shown[i] = fmt.Sprint(v)
	}
	return option{call: name + "(" + strings.Join(shown, ", ") + ")", set: set}
}

// WithLogger logs every event to the logger. By default nothing is logged.
func WithLogger(l *slog.Logger) Option {
	return newOption("WithLogger", func(o *options) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		o.observers = append(o.observers, logObserver{l})
		return nil
	})
}

// WithObserver tells the observer of every event.
func WithObserver(obs Observer) Option {
	return newOption("WithObserver", func(o *options) error {
		if obs == nil {
			return errors.New("the observer is nil")
		}
		o.observers = append(o.observers, obs)
		return nil
	})
}

// WithListenConfig sets how new sockets are bound, and what keep-alive the connections of a listener have, also of an
// inherited one. The default is the zero [net.ListenConfig]. The option [ListenConfig] overrides it for one socket.
func WithListenConfig(c net.ListenConfig) Option {
	return newOption("WithListenConfig", func(o *options) error {
		o.listenConfig = c
		return nil
	})
}

// WithUpgradeTimeout bounds how long a successor may take to become ready, the OnUpgrade hooks and the check of [WithCheck]
// included. It must be positive; the default is one minute.
func WithUpgradeTimeout(d time.Duration) Option {
	return newOption("WithUpgradeTimeout", func(o *options) error {
		o.upgradeTimeout = d
		return positive(d)
	}, d)
}

// WithDrainTimeout bounds how long the OnDrain hooks may take together. It must be positive; the default is 30 seconds.
func WithDrainTimeout(d time.Duration) Option {
	return newOption("WithDrainTimeout", func(o *options) error {
		o.drainTimeout = d
		return positive(d)
	}, d)
}

// WithMaxDraining sets how many older generations may drain at once, each of which holds the memory of a process. An upgrade
// that would lead to more fails with [ErrTooManyDraining]. It must be positive; the default is 4. With 1, an upgrade has to wait
// for the end of the previous one's drain.
func WithMaxDraining(n int) Option {
	return newOption("WithMaxDraining", func(o *options) error {
		if n <= 0 {
			return fmt.Errorf("%d is not positive", n)
		}
		o.maxDraining = n
		return nil
	}, n)
}

// WithEndOldest lets an upgrade end the oldest generation instead of failing with [ErrTooManyDraining]. That one is told to
// finish its drain at once: the contexts of its OnDrain hooks end. If it has not left after 5 seconds, it is signalled, see
// OnParentKill in [Hook].
func WithEndOldest() Option {
	return newOption("WithEndOldest", func(o *options) error {
		o.endOldest = true
		return nil
	})
}

// WithProbation lets a successor accept connections for a while, beside this process, before the handoff is committed. If it
// ends or calls [Manager.Fail] meanwhile, the upgrade has failed, and this process serves on alone. It must not be negative; the
// default is 0: the handoff is committed as soon as the successor is ready.
func WithProbation(d time.Duration) Option {
	return newOption("WithProbation", func(o *options) error {
		if d < 0 {
			return fmt.Errorf("%v is negative", d)
		}
		o.probation = d
		return nil
	}, d)
}

// WithHealthCheck asks this process about its successor during the probation: five times, evenly spaced, beginning at once. Each
// answer is due when the next question is, or a second later than its own if that is later. An error, or an answer that does not
// come in time, fails the upgrade. The function should look at the new process and not at the service, whose connections this
// process accepts too.
func WithHealthCheck(check func(ctx context.Context, successor Process) error) Option {
	return newOption("WithHealthCheck", func(o *options) error {
		if check == nil {
			return errors.New("the function is nil")
		}
		o.healthCheck = check
		return nil
	})
}

func positive(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%v is not positive", d)
	}
	return nil
}

// WithPIDFile keeps the number of the serving process in a file: for service managers that cannot be told of a new main
// process in another way. The file is replaced atomically, never before a handoff is committed, and removed at the end if it
// still names this process. Its directory must exist. By default there is no file.
func WithPIDFile(path string) Option {
	return newOption("WithPIDFile", func(o *options) (err error) {
		if path == "" {
			return errors.New("the path is empty")
		}
		o.pidFile, err = filepath.Abs(path)
		return err
	}, path)
}

// WithUpgradeSignals sets the signals on which [Manager.Run] upgrades; none of them if called without any. The default is
// SIGHUP and SIGUSR2, and none on Windows.
func WithUpgradeSignals(signals ...os.Signal) Option {
	return newOption("WithUpgradeSignals", func(o *options) error {
		o.upgradeSignals = slices.Clone(signals)
		return checkSignals(signals)
	}, anys(signals)...)
}

// WithShutdownSignals sets the signals on which [Manager.Run] shuts down; none of them if called without any. The default is
// SIGTERM and SIGINT. A program that does not call Run should switch them off: they are claimed in [New].
func WithShutdownSignals(signals ...os.Signal) Option {
	return newOption("WithShutdownSignals", func(o *options) error {
		o.shutdownSignals = slices.Clone(signals)
		return checkSignals(signals)
	}, anys(signals)...)
}

func checkSignals(signals []os.Signal) error {
	for _, sig := range signals {
		switch {
		case sig == nil, sig == syscall.Signal(0):
			return errors.New("a signal is nil or zero")
		case uncatchable(sig):
			return fmt.Errorf("no process can catch %s", sig)
		}
	}
	return nil
}

// WithExecutable sets the file that successors execute. A relative path is taken from the present directory. The file is
// looked at anew at each upgrade, so that a symbolic link can be turned and a file be replaced.
//
// The default is the path by which this process was started, and the file that it executes where that path leads elsewhere.
func WithExecutable(path string) Option {
	return newOption("WithExecutable", func(o *options) (err error) {
		if path == "" {
			return errors.New("the path is empty")
		}
		o.executable, err = filepath.Abs(path)
		return err
	}, path)
}

// WithArgs sets the arguments of successors, without the program's name. The default is those of this process.
func WithArgs(args ...string) Option {
	return newOption("WithArgs", func(o *options) error {
		for _, a := range args {
			if strings.ContainsRune(a, 0) {
				return fmt.Errorf("argument %q has a zero byte", a)
			}
		}
		o.args = slices.Clone(args)
		return nil
	}, anys(args)...)
}

// WithDir sets the directory in which successors start. The default is the one in which [New] was called.
func WithDir(path string) Option {
	return newOption("WithDir", func(o *options) (err error) {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", path)
		}
		o.dir, err = filepath.Abs(path)
		return err
	}, path)
}

// WithEnv asks a function for the environment of each successor, in the form of [os.Environ]; its error fails the upgrade.
// The variables that announce sockets are added. The default is the environment of this process when [New] was called.
func WithEnv(env func(context.Context) ([]string, error)) Option {
	return newOption("WithEnv", func(o *options) error {
		if env == nil {
			return errors.New("the function is nil")
		}
		o.env = env
		return nil
	})
}

func anys[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
