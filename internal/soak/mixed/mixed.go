// Package mixed upgrades a service of several protocols again and again under load, and reports
// whether a request was lost or anything grew. It is the program examples/soak.
//
// The service is in service.go; server_*.go show how each protocol finishes its work. driver.go
// upgrades the service, load*.go are its clients, and outcome.go judges. Package lineage follows
// the generations.
package mixed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// settings are how the soak runs.
type settings struct {
	upgrades int
	duration time.Duration // instead of a number of upgrades; 0 for none
	clients  int           // of each kind, except streams
	streams  int
	stream   time.Duration // of the longest stream
	pause    time.Duration // the longest between two upgrades
	seed     uint64
}

// Main is the main function of the program.
func Main() { lineage.Main("soak", drive, serveAs) }

// drive runs the soak.
func drive(ctx context.Context, args []string) error {
	set, err := parse(args)
	if err != nil {
		return err
	}
	return soak(ctx, set)
}

func parse(args []string) (settings, error) {
	var set settings
	flags := flag.NewFlagSet("soak", flag.ExitOnError)
	flags.IntVar(&set.upgrades, "upgrades", 1000, "how often to upgrade the service")
	flags.DurationVar(&set.duration, "for", 0, "how long to upgrade it, instead of -upgrades")
	flags.IntVar(&set.clients, "clients", 8, "clients of each kind")
	flags.IntVar(&set.streams, "streams", lineage.MaxDraining-1, fmt.Sprintf(
		"clients with a long stream, each of which may keep an older generation alive;\n"+
			"upgrades wait while %d older generations drain", lineage.MaxDraining))
	flags.DurationVar(&set.stream, "stream", 5*time.Second,
		"how long the longest stream lasts; the shortest lasts half as long")
	flags.DurationVar(&set.pause, "pause", 50*time.Millisecond,
		"the longest pause between two upgrades")
	flags.Uint64Var(&set.seed, "seed", rand.Uint64(),
		"of the random choices of the clients and the driver; by default a new one each time")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if flags.NArg() > 0 {
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return set, set.validate()
}

func (s settings) validate() error {
	switch {
	case s.upgrades < 1, s.clients < 1, s.streams < 1, s.pause <= 0:
		return errors.New("-upgrades, -clients, -streams and -pause must be positive")
	case s.duration < 0:
		return fmt.Errorf("-for is %v, and must not be negative", s.duration)
	case s.stream < 4*tickInterval:
		return fmt.Errorf("-stream is %v, and must be at least %v", s.stream, 4*tickInterval)
	}
	return nil
}
