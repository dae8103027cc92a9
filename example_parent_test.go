//go:build unix

package grace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// worker does what one process at a time does, such as sending queued mails.
type worker struct {
	working atomic.Bool
	drain   chan struct{} // closed when the process drains
}

// work returns when this process drains, and everything that was begun is done.
func (w *worker) work() error {
	<-w.drain // stands for work
	w.working.Store(false)
	return nil
}

// hook has the worker begin when that of the previous process is done.
func (w *worker) hook(m *grace.Manager) grace.Hook {
	begin := sync.OnceFunc(func() {
		w.working.Store(true)
		m.Go(w.work) // which the drain waits for
	})
	return grace.Hook{
		Name: "worker",
		OnReady: func(context.Context) error {
			if _, lives := m.Parent(); !lives {
				begin() // this is the first process, or the previous one has crashed
			}
			return nil
		},
		OnParentExit: func(context.Context, grace.Exit) error {
			begin()
			return nil
		},
		OnDrain: func(context.Context) error {
			close(w.drain)
			return nil
		},
	}
}

// runWorker runs a service that has a worker.
func runWorker(addr string) error {
	ctx := context.Background()
	m, err := grace.New(
		grace.WithLogger(slog.Default()),
		grace.WithMaxDraining(1), // when the parent is gone, no older worker is left
	)
	if err != nil {
		return err
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	w := &worker{drain: make(chan struct{})}
	m.Append(w.hook(m))
	m.Go(func() error { return acceptAll(ln, w, m.Status().Generation) })
	return m.Run(ctx)
}

func acceptAll(ln net.Listener, w *worker, generation int) error {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil // the process drains
		}
		if err != nil {
			return err
		}
		go tell(c, w, generation)
	}
}

// tell answers each line of a client with whether this process works.
func tell(c net.Conn, w *worker, generation int) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		_, err := fmt.Fprintf(c, "process %d works: %t\n", generation, w.working.Load())
		if err != nil {
			return // the client has gone
		}
	}
}

// The new process takes over what the old one needs to its very end.
func ExampleHook_onParentExit() {
	service := exampletest.Start(runWorker) // as a process
	defer service.Stop()
	old := service.Dial()
	fmt.Println(old.Ask("?"))

	fmt.Println(service.Upgrade()) // on SIGHUP
	fmt.Println(service.Ask("?"))

	_ = old.Close() // which the old process has waited for
	service.AwaitHook("OnParentExit")
	fmt.Println(service.Ask("?"))
	// Output:
	// process 1 works: true
	// upgrade finished
	// process 2 works: false
	// process 2 works: true
}
