// Package demo replaces an HTTP server under load, in several ways, and shows what its clients
// notice. It is the program examples/demo.
//
// The service is in server.go, its clients in load.go and client.go. replace.go replaces it.
package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// settings are how the demo runs.
type settings struct {
	upgrades int
	pause    time.Duration // before each upgrade, and after the last
}

// Main is the main function of the program.
func Main() { lineage.Main("demo", drive, serveAs) }

// drive runs the demo.
func drive(ctx context.Context, args []string) error {
	set, err := parse(args)
	if err != nil {
		return err
	}
	return demonstrate(ctx, set)
}

func parse(args []string) (set settings, err error) {
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	flags.IntVar(&set.upgrades, "upgrades", 10, "how often to replace the server, in each way")
	flags.DurationVar(&set.pause, "pause", 500*time.Millisecond, "how long each server serves")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	switch {
	case flags.NArg() > 0:
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case set.upgrades < 1, set.pause <= 0:
		return set, errors.New("-upgrades and -pause must be positive")
	}
	return set, nil
}

// upgradeWays are the ways in which a server that upgrades itself can drain.
var upgradeWays = []struct {
	name, title string
	judge       func(outcome, int) error
}{
	{politeWay, "the old one drains by gracehttp", outcome.verdict},
	{handoverWay, "the old one drains by gracehttp, with WithIdleHandover", outcome.seamless},
	{shutdownWay, "the old one drains by http.Server.Shutdown", nil},
}

// demonstrate replaces the server in one way after another, and prints the outcomes.
func demonstrate(ctx context.Context, set settings) error {
	fmt.Printf("Load: %d clients on keep-alive connections, %d that connect for each\n"+
		"request. None tries again. One request in ten sleeps 20 to 50 ms.\n",
		keepAliveClients, connectingClients)
	var outcomes []outcome
	var errs []error
	for _, way := range upgradeWays {
		fmt.Printf("\n%s: each server starts the next one (SIGHUP), %d times;\n%s\n",
			way.name, set.upgrades, way.title)
		o, err := replaceByUpgrade(ctx, set, way.name)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		outcomes = append(outcomes, o)
		if way.judge != nil {
			errs = append(errs, way.judge(o, set.upgrades))
		}
	}
	fmt.Printf("\n%s: SIGTERM, http.Server.Shutdown, then a new server on the same\n"+
		"port, %d times\n", restartWay, set.upgrades)
	o, err := replaceByRestart(ctx, set)
	if err != nil {
		return fmt.Errorf("%s: %w", restartWay, err)
	}
	fmt.Println()
	for _, o := range append(outcomes, o) {
		fmt.Println(o)
	}
	return errors.Join(errs...)
}
