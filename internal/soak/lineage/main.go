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

// serveCommand is the first argument with which the driver starts its program as the service.
const serveCommand = "serve"

// Main is the main function of a program that is a driver, or the service if a driver started it.
// An interrupt ends the context of the driver, and the end of the driver ends that of the service.
// An error ends the program with status 1.
func Main(name string, drive, serve func(ctx context.Context, args []string) error) {
	var err error
	if args := os.Args[1:]; len(args) > 0 && args[0] == serveCommand {
		// A terminal or timeout(1) signals all processes of the program: the driver decides.
		signal.Ignore(os.Interrupt, syscall.SIGTERM)
		err = serve(untilDriverEnds(), args[1:])
	} else {
		ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer restore()
		context.AfterFunc(ctx, restore) // a second interrupt kills the program
		err = drive(ctx, args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// ErrDriverEnded is the cause with which the context of a service ends.
var ErrDriverEnded = errors.New("the driver has ended")

// untilDriverEnds returns a context that ends when the driver closes our standard input, which it
// also does if it is killed: no process is left behind.
func untilDriverEnds() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(ErrDriverEnded)
	}()
	return ctx
}
