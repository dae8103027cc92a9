//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// conn is the connection of a client.
type conn struct{ net.Conn }

func dial(addr string) (conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	return conn{c}, err
}

func mustDial(t *testing.T, addr string) conn {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// echo sends a text, and returns an error unless it comes back.
func (c conn) echo(text string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("sent %q, got %q", text, got)
	}
	return nil
}

// traffic opens one connection after another until it is stopped, and records errors.
type traffic struct {
	stop chan struct{}
	done chan struct{}
	n    int
	errs []error
}

func startTraffic(addr string) *traffic {
	tr := &traffic{stop: make(chan struct{}), done: make(chan struct{})}
	go func() { // ends when stop is closed
		defer close(tr.done)
		for ; ; tr.n++ {
			select {
			case <-tr.stop:
				return
			default:
				tr.visit(addr)
			}
		}
	}()
	return tr
}

func (tr *traffic) visit(addr string) {
	c, err := dial(addr)
	if err == nil {
		err = errors.Join(c.echo(fmt.Sprint("visit ", tr.n)), c.Close())
	}
	if err != nil {
		tr.errs = append(tr.errs, fmt.Errorf("connection %d: %w", tr.n, err))
	}
}

func (tr *traffic) end(t *testing.T) {
	t.Helper()
	close(tr.stop)
	<-tr.done
	if tr.n == 0 || len(tr.errs) > 0 {
		t.Errorf("%d of %d connections failed: %v", len(tr.errs), tr.n, errors.Join(tr.errs...))
	}
}
