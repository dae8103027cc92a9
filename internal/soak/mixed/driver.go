package mixed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

const (
	// progressInterval is the time between two lines of progress.
	progressInterval = 5 * time.Second

	// drainSpare is what a drain may take on top of the longest stream.
	drainSpare = 2 * time.Minute
)

// driver asks the service for one upgrade after the other, under load.
type driver struct {
	set     settings
	lineage *lineage.Lineage
	load    *load
	chance  *rand.Rand

	began    time.Time
	reported time.Time // the last progress
}

// soak is the whole of it. The context ends it early, as if it had been meant to be no longer.
func soak(ctx context.Context, set settings) error {
	fmt.Printf("%d clients of each kind, %d with streams of up to %v; none tries again. Seed %d.\n\n", set.clients, set.streams, set.stream, set.seed)
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // there is nothing in it that anybody needs
	drainTimeout := set.stream + drainSpare
	l, err := lineage.Start(ctx, drainTimeout, func(lineage.Report) {}, dir, drainTimeout.String())
	if err != nil {
		return err
	}
	d := &driver{
		set: set, lineage: l, load: newLoad(set, l.Addrs), chance: rand.New(rand.NewPCG(set.seed, 0)), began: time.Now(),
	}
	err = errors.Join(l.Soak(ctx, d, d.enough), l.Stop())
	o := &outcome{Outcome: &l.Outcome, took: time.Since(d.began), kinds: d.load.kinds}
	fmt.Print("\n", o, "\n")
	return errors.Join(err, o.verdict())
}

func (d *driver) enough(done int, took time.Duration) bool {
	if d.set.duration > 0 {
		return took >= d.set.duration
	}
	return done == d.set.upgrades
}

// Load implements [lineage.Driver].
func (d *driver) Load() (stop func(), err error) {
	d.load.start()
	return d.load.stop, nil
}

// Upgraded waits until each kind of clients has met the new generation.
func (d *driver) Upgraded(ctx context.Context) error {
	generation := d.lineage.Serving.Generation
	d.load.serving.Store(int64(generation))
	err := d.lineage.Await(ctx, func() bool { return d.load.answeredBy(generation) }, d.load.news)
	if err != nil {
		return fmt.Errorf("wait for answers of generation %d to each kind of clients: %w", generation, err)
	}
	d.progress()
	return nil
}

// Rest implements [lineage.Driver].
func (d *driver) Rest(ctx context.Context) error {
	d.lineage.Pause(ctx, time.Duration(d.chance.Int64N(int64(d.set.pause))))
	return nil
}

// AskCensus asks over a connection of its own.
func (d *driver) AskCensus() (*lineage.Census, error) {
	c := lineClient{kind: &kind{patience: clientPatience}, network: "unix", addr: d.lineage.Addrs[unixLines]}
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
		d.lineage.Upgrades, len(d.lineage.Failures), t.requests, t.failed, d.lineage.Draining(), d.lineage.Growth.Latest())
}
