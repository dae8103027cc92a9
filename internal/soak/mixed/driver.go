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
	// progressInterval is the shortest time between two lines of progress.
	progressInterval = 5 * time.Second

	// drainSlack is added to the longest stream for the drain timeout.
	drainSlack = 2 * time.Minute
)

// driver upgrades the service again and again under load.
type driver struct {
	set     settings
	lineage *lineage.Lineage
	load    *load
	random  *rand.Rand

	began    time.Time
	reported time.Time // the last progress
}

// soak runs the soak. The end of the context ends it early, without an error.
func soak(ctx context.Context, set settings) error {
	fmt.Printf("%d clients of each kind, %d with streams of up to %v; none retries. Seed %d.\n\n",
		set.clients, set.streams, set.stream, set.seed)
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nobody needs what is in it
	timeout := set.stream + drainSlack
	ignore := func(lineage.Report) {}
	l, err := lineage.Start(ctx, timeout, ignore, dir, timeout.String())
	if err != nil {
		return err
	}
	d := &driver{
		set: set, lineage: l, load: newLoad(set, l.Addrs),
		random: rand.New(rand.NewPCG(set.seed, 0)), began: time.Now(),
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
	return done >= d.set.upgrades
}

// Load implements [lineage.Driver].
func (d *driver) Load() (stop func(), err error) {
	d.load.start()
	return d.load.stop, nil
}

// Upgraded waits until the new generation has answered each kind of client.
func (d *driver) Upgraded(ctx context.Context) error {
	generation := d.lineage.Serving.Generation
	d.load.serving.Store(int64(generation))
	answered := func() bool { return d.load.answeredBy(generation) }
	if err := d.lineage.Await(ctx, answered, d.load.newGeneration); err != nil {
		return fmt.Errorf("wait until generation %d has answered each kind of client: %w",
			generation, err)
	}
	d.progress()
	return nil
}

// Pause implements [lineage.Driver].
func (d *driver) Pause(ctx context.Context) error {
	d.lineage.Pause(ctx, time.Duration(d.random.Int64N(int64(d.set.pause))))
	return nil
}

// FetchCensus asks over a connection of its own.
func (d *driver) FetchCensus() (*lineage.Census, error) {
	c := lineClient{
		kind: &kind{patience: clientPatience}, network: "unix", addr: d.lineage.Addrs[unixLines],
	}
	defer c.hangUp()
	a, err := c.ask(censusRequest)
	if err == nil && a.Census == nil {
		err = errors.New("the answer has no census")
	}
	return a.Census, err
}

// progress prints a line now and then.
func (d *driver) progress() {
	if time.Since(d.reported) < progressInterval {
		return
	}
	d.reported = time.Now()
	l, t := d.lineage, sum(d.load.kinds)
	fmt.Printf("%8s  upgrades %6d, failed %d   requests %9d, failed %d   draining %d   %s\n",
		time.Since(d.began).Round(time.Second), l.Upgrades, len(l.Failures),
		t.requests, t.failed, l.Draining(), l.Growth.Latest())
}
