//go:build unix

package grace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/exampletest"
)

// journal is a file that one process at a time has open, and locks, as an embedded database does.
type journal struct {
	mu   sync.Mutex
	file *os.File // nil while another process may have it
}

func (j *journal) open(context.Context) error {
	f, err := os.OpenFile("journal", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK} // of the whole file
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		return errors.Join(fmt.Errorf("lock the journal: %w", err), f.Close())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.file = f
	return nil
}

// close waits for a write in progress. With the file, its lock is released.
func (j *journal) close(context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.file
	j.file = nil
	return f.Close()
}

func (j *journal) write(line string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return errors.New("an upgrade is in progress, try again")
	}
	_, err := fmt.Fprintln(j.file, line)
	return err
}

// keepJournal runs a service that keeps the lines of its clients in a journal.
func keepJournal(addr string) error {
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	ln, err := m.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	var j journal
	m.Append(grace.Hook{
		Name:      "journal",
		OnUpgrade: j.close, // the old process releases it,
		OnReady:   j.open,  // the new process takes it,
		OnUpgradeFailed: func(ctx context.Context, _ error) error {
			return j.open(ctx) // or the old one takes it back
		},
	})
	m.Go(func() error {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return nil // the process drains
			}
			if err != nil {
				return err
			}
			go takeLines(c, &j, m.Status().Generation)
		}
	})
	return m.Run(ctx)
}

func takeLines(c net.Conn, j *journal, generation int) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		answer := fmt.Sprintf("written by process %d", generation)
		if err := j.write(in.Text()); err != nil {
			answer = err.Error()
		}
		if _, err := io.WriteString(c, answer+"\n"); err != nil {
			return // the client has gone
		}
	}
}

// What only one process can hold is released for the new process, and taken back if that fails.
func ExampleHook() {
	service := exampletest.Start(keepJournal) // as a process
	defer service.Stop()
	fmt.Println(service.Ask("one"))

	service.DeployBroken()
	fmt.Println(service.Upgrade()) // on SIGHUP
	fmt.Println(service.Ask("two"))

	service.DeployWorking()
	fmt.Println(service.Upgrade())
	fmt.Println(service.Ask("three"))
	// Output:
	// written by process 1
	// upgrade failed
	// written by process 1
	// upgrade finished
	// written by process 2
}
