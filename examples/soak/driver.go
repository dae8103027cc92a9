package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// warmUps is how many upgrades come before the first census: the first process differs from its successors, which have
	// inherited their sockets.
	warmUps = 5

	// progressInterval is the time between two lines of progress.
	progressInterval = 5 * time.Second

	// drainSpare is what a drain may take on top of the longest stream: where the memory is short, all processes may stand
	// still for half a minute.
	drainSpare = 2 * time.Minute
)

// driver asks the service for one upgrade after the other, under load.
type driver struct {
	set     settings
	lineage *lineage
	load    *load
	chance  *rand.Rand
	outcome outcome

	began    time.Time
	reported time.Time // the last progress
}

// soak is the whole of it. The context ends it early, as if it had been meant to be no longer.
func soak(ctx context.Context, set settings) error {
	fmt.Printf("%d clients of each kind, %d with streams of up to %v; none tries again. Seed %d.\n\n", set.clients, set.streams, set.stream, set.seed)
	d := &driver{set: set, chance: rand.New(rand.NewPCG(set.seed, 0)), began: time.Now()}
	var err error
	if d.lineage, err = start(ctx, d.drainTimeout(), d.outcome.growth.add); err != nil {
		return err
	}
	d.load = newLoad(set, d.lineage.addrs)
	err = errors.Join(d.run(ctx), d.lineage.stop())
	d.conclude()
	return errors.Join(err, d.outcome.verdict())
}

func (d *driver) drainTimeout() time.Duration { return d.set.stream + drainSpare }

// run has two phases of load, the first one short, and a census without load after each: when all clients have gone and all
// older generations too, nothing may be there that was not there before.
func (d *driver) run(ctx context.Context) (err error) {
	if err := d.upgradeUnderLoad(ctx, func(done int) bool { return done == warmUps }); err != nil {
		return err
	}
	if d.outcome.before, err = d.censusAtRest(); err != nil {
		return err
	}
	began := time.Now()
	err = d.upgradeUnderLoad(ctx, func(done int) bool {
		if d.set.duration > 0 {
			return time.Since(began) >= d.set.duration
		}
		return done == d.set.upgrades
	})
	if err != nil {
		return err
	}
	d.outcome.after, err = d.censusAtRest()
	return err
}

// conclude completes the outcome and shows it.
func (d *driver) conclude() {
	o := &d.outcome
	o.took = time.Since(d.began)
	o.upgrades, o.failures, o.troubles = d.lineage.upgrades, d.lineage.failures, d.lineage.troubles
	o.kinds = d.load.kinds
	fmt.Print("\n", o, "\n")
}

// upgradeUnderLoad upgrades until it is enough. After an interrupt, one upgrade is.
func (d *driver) upgradeUnderLoad(ctx context.Context, enough func(done int) bool) error {
	d.load.start()
	defer d.load.stop()
	for done := 1; ; done++ {
		if err := d.upgrade(); err != nil {
			return err
		}
		d.progress()
		if enough(done) || ctx.Err() != nil {
			return nil
		}
		d.rest(ctx)
	}
}

// upgrade has the service replaced once, and waits until each kind of clients has met the new generation.
func (d *driver) upgrade() error {
	if err := d.awaitRoom(maxDraining - 1); err != nil {
		return err
	}
	ctx, cancel := within(stepTimeout)
	defer cancel()
	if err := d.lineage.upgrade(ctx); err != nil {
		return fmt.Errorf("upgrade %d: %w", d.lineage.upgrades+1, err)
	}
	generation := d.lineage.serving.Generation
	d.load.serving.Store(int64(generation))
	err := d.lineage.await(ctx, func() bool { return d.load.answeredBy(generation) }, d.load.news)
	if err != nil {
		return fmt.Errorf("wait for answers of generation %d to each kind of clients: %w", generation, err)
	}
	return nil
}

// awaitRoom waits until no more than so many older generations drain: an upgrade that leads to more than is allowed fails.
func (d *driver) awaitRoom(draining int) error {
	ctx, cancel := within(d.drainTimeout() + drainSpare)
	defer cancel()
	if err := d.lineage.await(ctx, func() bool { return d.lineage.draining() <= draining }, nil); err != nil {
		return fmt.Errorf("%d generations drain, wait for all but %d to end: %w", d.lineage.draining(), draining, err)
	}
	return nil
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), d, fmt.Errorf("it took more than %v", d))
}

// rest lets some time pass before the next upgrade.
func (d *driver) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(d.chance.Int64N(int64(d.set.pause))))
	defer cancel()
	_ = d.lineage.follow(ctx, never, nil) // the next upgrade notices the end of the service
}

// censusAtRest waits until the load and the older generations are gone, and what they have left in the one that serves has
// ended too.
func (d *driver) censusAtRest() (*rest, error) {
	if err := d.awaitRoom(0); err != nil {
		return nil, err
	}
	ctx, cancel := within(stepTimeout)
	defer cancel()
	// The last one to drain has said good-bye, and is yet to exit.
	c, err := settledCensus(ctx, 50*time.Millisecond, func() (*census, error) { return askCensus(d.lineage.addrs[unixLines]) })
	if err != nil {
		return nil, fmt.Errorf("census of the service without load: %w", err)
	}
	return &rest{census: c, alive: len(d.lineage.alive)}, nil
}

// askCensus asks the serving process, over a connection of its own, which counts in each census alike.
func askCensus(path string) (*census, error) {
	c := lineClient{kind: &kind{patience: clientPatience}, network: "unix", addr: path}
	defer c.hangUp()
	a, err := c.ask(censusRequest)
	if err == nil && a.Census == nil {
		err = errors.New("it is missing in the answer")
	}
	return a.Census, err
}

// progress says now and then how it goes.
func (d *driver) progress() {
	if time.Since(d.reported) < progressInterval {
		return
	}
	d.reported = time.Now()
	t := d.load.total()
	fmt.Printf("%8s  upgrades %6d, failed %d   requests %9d, failed %d   draining %d   %s\n", time.Since(d.began).Round(time.Second),
		d.lineage.upgrades, len(d.lineage.failures), t.requests, t.failed, d.lineage.draining(), d.outcome.growth.latest())
}
