// Echo sends back everything it receives. Replace the binary and send it SIGHUP: no connection is
// refused or cut.
package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"sync"

	"github.com/go-grace/grace"
)

func main() {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	ln, err := m.Listen(ctx, "tcp", os.Args[1]) // binds, or takes over from the previous process
	if err != nil {
		log.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			work.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	m.Append(grace.Hook{OnDrain: func(context.Context) error {
		defer work.Wait()
		return ln.Close()
	}})
	if err := m.Run(ctx); err != nil { // until SIGTERM, or until a new process serves
		log.Fatal(err)
	}
}
