//go:build linux

package grace_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// session is what goes to the next process with a connection.
type session struct {
	Lines  int    // that were counted
	Unread []byte // the beginning of a line, which was read already
}

// counter numbers the lines of each client.
type counter struct{ m *grace.Manager }

// serve serves a client until that goes, or this process drains.
func (n *counter) serve(c net.Conn, s session) {
	defer c.Close()
	gone := make(chan struct{})
	defer close(gone)
	go func() { // no Read may be under way during a transfer
		select {
		case <-n.m.Done(): // this process drains
			_ = c.SetReadDeadline(time.Now())
		case <-gone:
		}
	}()
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(s.Unread), c))
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.Unread = line
			if err := n.handOver(c, s); err != nil {
				slog.Error("a client has to connect again", "error", err)
			}
			return
		}
		if err != nil {
			return // the client has gone
		}
		s.Lines++
		_, err = fmt.Fprintf(c, "%d: %s (process %d)\n",
			s.Lines, bytes.TrimSpace(line), n.m.Status().Generation)
		if err != nil {
			return
		}
	}
}

// handOver moves a connection to the next process. After an error it could be used further.
func (n *counter) handOver(c net.Conn, s session) error {
	state, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return n.m.Transfer(context.Background(), "client", c.(syscall.Conn), state)
}

// resume serves a client of the previous process.
func (n *counter) resume(c net.Conn, state []byte) {
	var s session
	if err := json.Unmarshal(state, &s); err != nil {
		slog.Error("a client has to connect again", "error", err)
		_ = c.Close() // the client notices
		return
	}
	n.serve(c, s)
}

// countLines runs a service whose connections outlive its processes.
func countLines(addr string) error {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	n := &counter{m}
	if _, err := m.HandleTransfers("client", n.resume); err != nil {
		return err
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	m.Go(func() error {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return nil // the process drains
			}
			if err != nil {
				return err
			}
			go n.serve(c, session{})
		}
	})
	return m.Run(ctx)
}

// A connection goes on in the new process, in the middle of a line.
func ExampleManager_Transfer() {
	service := exampletest.Start(countLines) // as a process
	defer service.Stop()
	client := service.Dial()
	fmt.Println(client.Ask("one"))
	client.Send("tw")

	fmt.Println(service.Upgrade()) // on SIGHUP
	service.AwaitParentExit()      // the old process has no connection left to wait for

	fmt.Println(client.Ask("o"))
	fmt.Println(client.Ask("three"))
	// Output:
	// 1: one (process 1)
	// upgrade finished
	// 2: two (process 2)
	// 3: three (process 2)
}
