// Package mixed replaces a service of several protocols again and again under load, and tells whether a request was lost or
// anything has grown. It is the program examples/soak.
//
// Begin to read at service.go, which is a service of several protocols, and server_*.go, how each of them finishes its work.
// The rest is the soak: driver.go and load*.go, which are the clients, and outcome.go, the judgement. What starts the service, has
// it upgraded, follows its generations and sees that nothing grows with them is in package lineage.
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
	stream   time.Duration // that the longest stream lasts
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
	flags.IntVar(&set.upgrades, "upgrades", 1000, "how often to replace the service")
	flags.DurationVar(&set.duration, "for", 0, "how long to replace it, instead of -upgrades")
	flags.IntVar(&set.clients, "clients", 8, "clients of each kind")
	flags.IntVar(&set.streams, "streams", lineage.MaxDraining-1, "clients with a long-lived stream; each may keep an older generation alive,\n"+
		fmt.Sprintf("and upgrades wait while %d of these drain", lineage.MaxDraining))
	flags.DurationVar(&set.stream, "stream", 5*time.Second, "how long the longest stream lasts; the shortest lasts half as long")
	flags.DurationVar(&set.pause, "pause", 50*time.Millisecond, "the longest pause between two upgrades")
	flags.Uint64Var(&set.seed, "seed", rand.Uint64(), "of what the clients and the driver do by chance; the default is another each time")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	switch {
	case flags.NArg() > 0:
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case set.upgrades < 1, set.clients < 1, set.streams < 1, set.pause <= 0, set.duration < 0:
		return set, errors.New("-upgrades, -clients, -streams and -pause must be positive, and -for may not be negative")
	case set.stream < 4*tickInterval:
		return set, fmt.Errorf("-stream is %v, and must be at least %v", set.stream, 4*tickInterval)
	}
	return set, nil
}
