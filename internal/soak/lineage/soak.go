package lineage

import (
	"context"
	"fmt"
	"time"
)

const (
	// WarmUps is how many upgrades come before the first census: the first process differs from its successors, which have
	// inherited their sockets.
	WarmUps = 5

	// MaxDraining is how many older generations may drain at a time.
	MaxDraining = 4

	// drainSpare is what is waited for a drain on top of its timeout: where the memory is short, all processes may stand still
	// for half a minute.
	drainSpare = 2 * time.Minute
)

// Driver is what one soak does in another way than others.
type Driver interface {
	// Load puts load on the service, until stop is called.
	Load() (stop func(), err error)
	// Upgraded is called after each upgrade, under load.
	Upgraded(context.Context) error
	// Rest lets some time pass before the next upgrade.
	Rest(context.Context) error
	// AskCensus asks the serving process, in a way that counts in each census alike.
	AskCensus() (*Census, error)
}

// Soak has two phases of load, the first one short, and a census without load after each: when all clients have gone and all
// older generations too, nothing may be there that was not there before. The second phase is over when enough says so, after so
// many upgrades and so much time. The context ends it early, as if it had been meant to be no longer.
func (l *Lineage) Soak(ctx context.Context, d Driver, enough func(done int, took time.Duration) bool) (err error) {
	if err := l.upgradeUnderLoad(ctx, d, func(done int) bool { return done == WarmUps }); err != nil {
		return err
	}
	if l.before, err = l.censusAtRest(d); err != nil {
		return err
	}
	began := time.Now()
	if err := l.upgradeUnderLoad(ctx, d, func(done int) bool { return enough(done, time.Since(began)) }); err != nil {
		return err
	}
	l.after, err = l.censusAtRest(d)
	return err
}

// upgradeUnderLoad upgrades until it is enough. After an interrupt, one upgrade is.
func (l *Lineage) upgradeUnderLoad(ctx context.Context, d Driver, enough func(done int) bool) error {
	stop, err := d.Load()
	if err != nil {
		return err
	}
	defer stop()
	for done := 1; ; done++ {
		if err := l.upgradeOnce(d); err != nil {
			return err
		}
		if enough(done) || ctx.Err() != nil {
			return nil
		}
		if err := d.Rest(ctx); err != nil {
			return err
		}
	}
}

// upgradeOnce has the service replaced.
func (l *Lineage) upgradeOnce(d Driver) error {
	if err := l.AwaitDrains(MaxDraining - 1); err != nil {
		return err
	}
	ctx, cancel := within(stepTimeout)
	defer cancel()
	if err := l.upgrade(ctx); err != nil {
		return fmt.Errorf("upgrade %d: %w", l.Upgrades+1, err)
	}
	return d.Upgraded(ctx)
}

// AwaitDrains waits until no more than so many older generations drain: an upgrade that leads to more than is allowed fails.
func (l *Lineage) AwaitDrains(most int) error {
	ctx, cancel := within(l.drainTimeout + drainSpare)
	defer cancel()
	if err := l.Await(ctx, func() bool { return l.Draining() <= most }, nil); err != nil {
		return fmt.Errorf("%d generations drain, wait for all but %d to end: %w", l.Draining(), most, err)
	}
	return nil
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), d, fmt.Errorf("it took more than %v", d))
}

// censusAtRest waits until the load and the older generations are gone, and what they have left in the one that serves has
// ended too.
func (l *Lineage) censusAtRest(d Driver) (*rest, error) {
	if err := l.AwaitDrains(0); err != nil {
		return nil, err
	}
	ctx, cancel := within(stepTimeout)
	defer cancel()
	// The last one to drain has said good-bye, and is yet to exit.
	c, err := SettledCensus(ctx, 50*time.Millisecond, d.AskCensus)
	if err != nil {
		return nil, fmt.Errorf("census of the service without load: %w", err)
	}
	return &rest{Census: c, alive: len(l.alive)}, nil
}
