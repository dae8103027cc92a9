// Echo sends back everything it receives. Replace the binary and send it SIGHUP: no connection is
// refused, and the open ones have 30 seconds to end.
//
//	go build ./examples/echo && ./echo localhost:7000
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"

	"github.com/go-grace/grace"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: echo HOST:PORT")
		os.Exit(2)
	}
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	ln, err := m.Listen(ctx, "tcp", os.Args[1]) // binds, or takes over from the previous process
	if err != nil {
		log.Fatal(err)
	}
	m.Go(func() error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err // it ends the service, except after an upgrade or in a stop
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	})
	if err := m.Run(ctx); err != nil { // until its end, on SIGTERM or after an upgrade
		log.Fatal(err)
	}
}
