//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience bounds each wait of a test, for something that will happen.
const patience = servicetest.Patience

// The test binary is the program too, so the race detector watches the program.
func TestMain(m *testing.M) {
	servicetest.Main(func(any) error { main(); return nil })
	os.Exit(m.Run())
}

// No ticket is issued twice while clients draw them and the program is upgraded three times.
func TestNoTicketIsIssuedTwice(t *testing.T) {
	cmd := servicetest.Command(nil)
	addr := servicetest.Listen(t, cmd)
	s := servicetest.StartLog(t, cmd)
	s.AwaitReady(1)
	drawing := startDrawing(addr)
	for range 3 {
		s.Upgrade()
	}
	close(drawing.stop)
	<-drawing.done
	if drawing.err != nil || len(drawing.seen) == 0 || drawing.twice > 0 {
		t.Errorf("%d tickets, %d of them twice; %v", len(drawing.seen), drawing.twice, drawing.err)
	}
	drained := regexp.MustCompile(` INFO drain finished .* generation=3 `)
	s.Await("drain of the previous process", drained.MatchString) // it may accept until then
	if last, err := draw(addr); err != nil || last <= 3*reserve || drawing.seen[last] {
		t.Errorf("after three upgrades the ticket is %d, %v: the count began again", last, err)
	}
	s.Signal(syscall.SIGTERM)
	s.AwaitCleanEnd()
}

// draw draws a ticket.
func draw(addr string) (uint64, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	line, err := io.ReadAll(c)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(line)), 10, 64)
}

// draws is a client that draws one ticket after another.
type draws struct {
	stop, done chan struct{}
	seen       map[uint64]bool
	twice      int
	err        error
}

func startDrawing(addr string) *draws {
	d := &draws{stop: make(chan struct{}), done: make(chan struct{}), seen: map[uint64]bool{}}
	go func() { // ends when stop is closed, or at the first error
		defer close(d.done)
		for d.err == nil {
			select {
			case <-d.stop:
				return
			case <-time.After(time.Millisecond): // not to flood the service
			}
			var ticket uint64
			if ticket, d.err = draw(addr); d.seen[ticket] {
				d.twice++
			}
			d.seen[ticket] = true
		}
	}()
	return d
}

// Without an address, the program says how it is called.
func TestUsage(t *testing.T) {
	out, err := servicetest.Command(nil).CombinedOutput()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ended.ExitCode() != 2 || string(out) != "usage: tickets HOST:PORT\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
