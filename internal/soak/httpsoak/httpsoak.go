// Package httpsoak upgrades an HTTP service again and again under load, in each of several ways to
// drain, and counts what its clients lose. It is the program examples/httpsoak.
//
// The service has a TCP socket and a unix socket for HTTP/1 and h2c, and one with TLS. Its clients
// are those of internal/test/httpload, of all kinds. On a fourth socket, which some of them use, it
// wraps the connections as many middlewares do. The clients never retry, and do not check whether
// their connection is still open before they use it: in the mode shutdown, most failures are
// requests on idle connections that Shutdown has closed.
//
// After each upgrade, chance decides whether the next one waits until the old process is gone, or
// only for a moment, so that several processes drain at a time.
package httpsoak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// settings are how the soak runs.
type settings struct {
	modes    []mode
	upgrades int
	kinds    []string      // of clients; all if there are none
	copies   int           // clients of each kind for each socket
	pause    time.Duration // the longest between two upgrades that overlap
	seed     uint64
}

// Main is the main function of the program.
func Main() { lineage.Main("httpsoak", drive, serveAs) }

// drive runs the soak.
func drive(ctx context.Context, args []string) error {
	set, err := parse(args)
	if err != nil {
		return err
	}
	fmt.Printf("%d clients of each kind for each of 4 sockets; none retries. Seed %d.\n",
		set.copies, set.seed)
	var errs []error
	for _, mode := range set.modes {
		if mode.shutdownOnly {
			fmt.Printf("%s is the control, without gracehttp: it may lose requests.\n", mode.name)
		}
		if err := soak(ctx, set, mode); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", mode.name, err))
		}
	}
	fmt.Println(verdict(errs))
	return errors.Join(errs...)
}

// verdict returns the last line of the output. What has failed, and why, is on the standard error.
func verdict(errs []error) string {
	if len(errs) == 0 {
		return "httpsoak: passed"
	}
	return fmt.Sprintf("httpsoak: FAILED: %v", errors.Join(errs...))
}

func parse(args []string) (settings, error) {
	set := settings{modes: modes}
	var only, kinds string
	flags := flag.NewFlagSet("httpsoak", flag.ExitOnError)
	flags.StringVar(&only, "mode", "",
		"the only mode, "+modeNames()+"; by default all, one after another")
	flags.IntVar(&set.upgrades, "upgrades", 100, "how often to upgrade the service in each mode")
	flags.StringVar(&kinds, "kinds", "",
		"the only kinds of clients, with commas between them; by default all")
	flags.IntVar(&set.copies, "copies", 1, "clients of each kind for each socket")
	flags.DurationVar(&set.pause, "pause", 200*time.Millisecond,
		"the longest pause between two upgrades if the second does not wait for a drain")
	flags.Uint64Var(&set.seed, "seed", rand.Uint64(),
		"of the random choices of the driver; by default a new one each time")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if kinds != "" {
		set.kinds = strings.Split(kinds, ",")
	}
	if only != "" {
		other := func(m mode) bool { return m.name != only }
		set.modes = slices.DeleteFunc(slices.Clone(modes), other)
	}
	switch {
	case flags.NArg() > 0:
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case len(set.modes) == 0:
		return set, fmt.Errorf("-mode is %q, and must be %s", only, modeNames())
	case set.upgrades < 1, set.copies < 1, set.pause <= 0:
		return set, errors.New("-upgrades, -copies and -pause must be positive")
	}
	return set, nil
}

func modeNames() string {
	var names []string
	for _, m := range modes {
		names = append(names, m.name)
	}
	return strings.Join(names, " or ")
}
