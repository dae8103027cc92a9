// Package demo replaces an HTTP server under load, in several ways, and shows what its clients notice. It is the program
// examples/demo.
//
// Begin to read at server.go, which is the service. The rest is the demonstration:
// this file tells its story, lineage.go starts and replaces the servers, load.go and client.go put load on them.
package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// settings are how the demo runs.
type settings struct {
	upgrades int
	pause    time.Duration // before each upgrade, and after the last
}

// Main is the main function of the program.
func Main() {
	var err error
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "serve-") {
		err = serveAs(os.Args[1], os.Args[2:]) // the demo has started this process
	} else {
		err = demonstrate()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demonstrate() error {
	var set settings
	flag.IntVar(&set.upgrades, "upgrades", 10, "how often to replace the server, in each way")
	flag.DurationVar(&set.pause, "pause", 500*time.Millisecond, "how long each server serves")
	flag.Parse()
	if set.upgrades < 1 || set.pause <= 0 || flag.NArg() > 0 {
		return errors.New("-upgrades and -pause must be positive, and nothing else can be said")
	}
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // who interrupts twice does not want to wait
	return tell(ctx, set)
}

// upgradeWays are the ways in which a server that replaces itself can drain.
var upgradeWays = []struct {
	command, title string
	judge          func(outcome, int) error
}{
	{servePoliteCommand, "the old one drains by gracehttp", outcome.verdict},
	{serveHandoverCommand, "the old one drains by gracehttp, with WithIdleHandover", outcome.seamless},
	{serveShutdownCommand, "the old one drains by http.Server.Shutdown", nil},
}

// tell is the story.
func tell(ctx context.Context, set settings) error {
	fmt.Printf("Load: %d clients on keep-alive connections, %d that connect for each request. None tries again.\n",
		keepAliveClients, connectingClients)
	var outcomes []outcome
	var errs []error
	for _, way := range upgradeWays {
		fmt.Printf("\n%s: each server starts the next one (SIGHUP), %d times; %s\n", name(way.command), set.upgrades, way.title)
		o, err := replaceByUpgrade(ctx, set, way.command)
		if err != nil {
			return fmt.Errorf("%s: %w", name(way.command), err)
		}
		outcomes = append(outcomes, o)
		if way.judge != nil {
			errs = append(errs, way.judge(o, set.upgrades))
		}
	}
	fmt.Printf("\nstop-and-start: SIGTERM, http.Server.Shutdown, then a new server on the same port, %d times\n", set.upgrades)
	plain, err := replaceByRestart(ctx, set)
	if err != nil {
		return fmt.Errorf("stop-and-start: %w", err)
	}
	fmt.Println()
	for _, o := range append(outcomes, plain) {
		fmt.Println(o)
	}
	return errors.Join(errs...)
}

// name is that of a way: the command without what all of them have.
func name(command string) string { return strings.TrimPrefix(command, "serve-") }

// replaceByUpgrade has the server replace itself under load.
func replaceByUpgrade(ctx context.Context, set settings, command string) (o outcome, err error) {
	table := newTable("took over in", "drained in")
	servers, err := start(ctx, table, command, anyPort)
	if err != nil {
		return o, err
	}
	defer func() { err = firstOf(err, servers.stop()) }()
	load := startLoad(servers.addr)
	defer load.stop()
	for range set.upgrades {
		if err := servers.rest(ctx, set.pause); err != nil {
			return o, err
		}
		if err := servers.upgrade(ctx); err != nil {
			return o, err
		}
	}
	if err := servers.rest(ctx, set.pause); err != nil {
		return o, err
	}
	return outcome{way: name(command), upgrades: servers.upgrades, tally: load.stop()}, nil
}

// replaceByRestart stops and starts the server under the same load.
func replaceByRestart(ctx context.Context, set settings) (o outcome, err error) {
	table := newTable("was down for")
	server, err := start(ctx, table, servePlainCommand, anyPort, "1")
	if err != nil {
		return o, err
	}
	defer func() { err = firstOf(err, server.stop()) }()
	load := startLoad(server.addr)
	defer load.stop()

	o = outcome{way: "stop-and-start"}
	for o.upgrades < set.upgrades {
		if err := server.rest(ctx, set.pause); err != nil {
			return o, err
		}
		down := time.Now()
		if err := server.stop(); err != nil {
			return o, err
		}
		next, err := start(ctx, table, servePlainCommand, server.addr, fmt.Sprint(o.upgrades+2))
		if err != nil {
			return o, err
		}
		server = next
		server.serving.tookOver = time.Since(down)
		o.upgrades++
	}
	if err := server.rest(ctx, set.pause); err != nil {
		return o, err
	}
	o.tally = load.stop()
	return o, nil
}

// firstOf is for what fails while the consequences of a failure are cleared away: the first error says why.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
