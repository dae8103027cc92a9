// Tickets gives each connection a number that no other has got, before or after an upgrade. Replace the binary and send it
// SIGHUP: the count goes on in the new process.
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

// reserve is how many tickets a process may give between the start of an upgrade and its own end. Both processes give tickets
// then, so the new one begins beyond these.
const reserve = 1 << 20

func main() {
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	if err := run(m, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(m *grace.Manager, addr string) error {
	given, err := inherit(m)
	if err != nil {
		return errors.Join(err, m.Fail(err)) // the previous process serves on, and its log says why
	}
	var last atomic.Uint64
	last.Store(given)
	if err := m.PassState("given", func(context.Context) ([]byte, error) {
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

// inherit gives the last ticket of the previous process; 0 if there was none, or one that did not count yet.
func inherit(m *grace.Manager) (uint64, error) {
	state, err := m.InheritedState("given")
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
			log.Print(err) // the client has gone
		}
	}
}
