package lineage

import (
	"context"
	"fmt"
	"time"
)

const (
	// WarmUps is the number of upgrades before the first census. The first process differs from
	// its successors, whose sockets are inherited.
	WarmUps = 5

	// MaxDraining is how many older generations may drain at a time.
	MaxDraining = 4

	// drainSlack is added to the drain timeout when the driver waits for a drain: where memory is
	// short, all processes may stand still for half a minute.
	drainSlack = 2 * time.Minute
)

// Driver is what differs from one soak to another.
type Driver interface {
	// Load puts load on the service until stop is called.
	Load() (stop func(), err error)
	// Upgraded is called after each upgrade, under load.
	Upgraded(context.Context) error
	// Pause lets some time pass before the next upgrade.
	Pause(context.Context) error
	// FetchCensus asks the serving process for a census. The request itself must weigh the same in
	// each census.
	FetchCensus() (*Census, error)
}

// Soak upgrades the service in two phases of load, the first of them short, and takes a census
// without load after each. By the second census, everything that the second phase added must be
// gone. The second phase ends when enough returns true for the number of all upgrades and its own
// duration. If one upgrade is enough, there is no first phase, and nothing to compare. The end of
// the context ends it early, without an error.
func (l *Lineage) Soak(
	ctx context.Context, d Driver, enough func(done int, took time.Duration) bool,
) (err error) {
	if !enough(1, 0) {
		warm := func(done int) bool { return done == WarmUps || enough(done+1, 0) }
		if err := l.upgradeUnderLoad(ctx, d, warm); err != nil {
			return err
		}
		if l.before, err = l.idleCensus(d); err != nil {
			return err
		}
	}
	began := time.Now()
	soaked := func(done int) bool { return enough(done, time.Since(began)) }
	if err := l.upgradeUnderLoad(ctx, d, soaked); err != nil {
		return err
	}
	l.after, err = l.idleCensus(d)
	return err
}

// upgradeUnderLoad upgrades until enough returns true for the number of all upgrades. After an interrupt, one upgrade is enough.
func (l *Lineage) upgradeUnderLoad(
	ctx context.Context, d Driver, enough func(done int) bool,
) error {
	stop, err := d.Load()
	if err != nil {
		return err
	}
	defer stop()
	for {
		if err := l.upgradeOnce(d); err != nil {
			return err
		}
		if enough(l.Upgrades+len(l.Failures)) || ctx.Err() != nil {
			return nil
		}
		if err := d.Pause(ctx); err != nil {
			return err
		}
	}
}

func (l *Lineage) upgradeOnce(d Driver) error {
	if err := l.AwaitDrains(MaxDraining - 1); err != nil {
		return err
	}
	ctx, cancel := within(stepTimeout)
	defer cancel()
	if err := l.Upgrade(ctx); err != nil {
		return fmt.Errorf("upgrade %d: %w", l.Upgrades+1, err)
	}
	return d.Upgraded(ctx)
}

// AwaitDrains waits until at most n older generations drain. An upgrade that leads to more than the
// service allows fails.
func (l *Lineage) AwaitDrains(n int) error {
	ctx, cancel := within(l.drainTimeout + drainSlack)
	defer cancel()
	if err := l.Await(ctx, func() bool { return l.Draining() <= n }, nil); err != nil {
		return fmt.Errorf("%d generations drain, wait for at most %d: %w", l.Draining(), n, err)
	}
	return nil
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	timedOut := fmt.Errorf("it took more than %v", d)
	return context.WithTimeoutCause(context.Background(), d, timedOut)
}

// idleCensus waits until the older generations are gone, and everything that they and the load left
// in the serving process has ended.
func (l *Lineage) idleCensus(d Driver) (*snapshot, error) {
	if err := l.AwaitDrains(0); err != nil {
		return nil, err
	}
	ctx, cancel := within(stepTimeout)
	defer cancel()
	// The last process to drain has sent its last report, and has yet to exit.
	c, err := SettledCensus(ctx, 50*time.Millisecond, d.FetchCensus)
	if err != nil {
		return nil, fmt.Errorf("census of the service without load: %w", err)
	}
	return &snapshot{Census: c, alive: len(l.alive)}, nil
}
