package lineage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// serveCommand is how the driver starts its program as the service.
const serveCommand = "serve"

// Main is the main function of a program that is a driver, or the service if the driver has started it. An interrupt ends the context
// of the driver, and the end of the driver that of the service. An error ends the program with status 1.
func Main(name string, drive, serve func(ctx context.Context, args []string) error) {
	var err error
	if args := os.Args[1:]; len(args) > 0 && args[0] == serveCommand {
		signal.Ignore(os.Interrupt, syscall.SIGTERM) // which a terminal or timeout(1) sends to all of us: the driver decides
		err = serve(leashed(), args[1:])
	} else {
		ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer restore()
		context.AfterFunc(ctx, restore) // who interrupts twice does not want to see the outcome
		err = drive(ctx, args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// ErrDriverEnded is why the context of a service ends.
var ErrDriverEnded = errors.New("the driver has ended")

// leashed gives a context that ends when the driver lets go of our standard input, in whichever way it ends: no process is
// left behind.
func leashed() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(ErrDriverEnded)
	}()
	return ctx
}
