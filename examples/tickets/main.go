// Tickets sends each connection a number that no other connection gets, before or after an upgrade.
// Replace the binary and send it SIGHUP: the count continues in the new process.
//
//	go build ./examples/tickets && ./tickets localhost:7001
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/go-grace/grace"
)

// reserve is how many tickets a process may issue between the start of an upgrade and its own end.
// The new process issues tickets at the same time, so it begins beyond them.
const reserve = 1 << 20

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tickets HOST:PORT")
		os.Exit(2)
	}
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	if err := run(m, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(m *grace.Manager, addr string) error {
	issued, err := inherit(m)
	if err != nil {
		return errors.Join(err, m.Fail(err)) // the previous process keeps serving
	}
	var last atomic.Uint64
	last.Store(issued)
	if err := m.PassState("issued", func(context.Context) ([]byte, error) {
		return strconv.AppendUint(nil, last.Load()+reserve, 10), nil
	}); err != nil {
		return err
	}
	ln, err := m.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	work.Go(func() { serve(ln, &last) })
	m.Append(grace.Hook{OnDrain: func(context.Context) error {
		defer work.Wait()
		return ln.Close()
	}})
	return m.Run(context.Background())
}

// inherit returns the last ticket of the previous process, or 0 if there is none: this process is
// the first, or the previous version did not count.
func inherit(m *grace.Manager) (uint64, error) {
	state, err := m.InheritedState("issued")
	if errors.Is(err, grace.ErrNotInherited) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(state), 10, 64)
}

func serve(ln net.Listener, last *atomic.Uint64) {
	for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
		_, err := fmt.Fprintln(c, last.Add(1))
		if err := errors.Join(err, c.Close()); err != nil {
			log.Print(err) // the client is gone
		}
	}
}
