//go:build unix

package grace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// greet runs a service that greets its clients. Install a new version and send SIGHUP.
func greet(addr string) error {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	ln, err := m.Listen(ctx, "tcp", addr) // binds, or takes over from the previous process
	if err != nil {
		return err
	}
	m.Go(func() error { return acceptGuests(ln, m.Status().Generation) })
	return m.Run(ctx) // until SIGTERM or an upgrade, and its connections have ended
}

// acceptGuests may start before this process is ready: until then, Accept waits.
func acceptGuests(ln net.Listener, generation int) error {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil // the process drains
		}
		if err != nil {
			return err
		}
		go greetGuest(c, generation)
	}
}

func greetGuest(c net.Conn, generation int) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		if _, err := fmt.Fprintf(c, "Hello %s from process %d!\n", in.Text(), generation); err != nil {
			return // the client has gone
		}
	}
}

// A listener goes from process to process. The old process finishes what it has accepted.
func ExampleManager_Listen() {
	service := exampletest.Start(greet) // as a process
	defer service.Stop()

	ann := service.Dial()
	fmt.Println(ann.Ask("Ann"))

	fmt.Println(service.Upgrade()) // on SIGHUP

	bob := service.Dial()
	fmt.Println(bob.Ask("Bob"))
	fmt.Println(ann.Ask("Ann"))
	// Output:
	// Hello Ann from process 1!
	// upgrade finished
	// Hello Bob from process 2!
	// Hello Ann from process 1!
}
