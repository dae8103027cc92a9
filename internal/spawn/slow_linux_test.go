//go:build amd64 || arm64

package spawn

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
	"github.com/go-grace/grace/internal/test/scannertest"
)

// While the kernel opens the program, this process goes on: with vfork(2), a collection would never
// end, and neither would this test.
func TestSlowProgramHoldsNothingUp(t *testing.T) {
	program := copyOf(t, "/bin/true")
	s := scannertest.Scan(t, program)
	c, err := Start(Program{Path: program, Args: []string{"true"}})
	must(t, err)
	<-s.Asked
	runtime.GC()
	if isClosed(c.begun) {
		t.Error("the program was executed before it was allowed to")
	}
	s.Allow()
	must(t, c.Wait(context.Background()))
	c.reap()
}

// A connection that this process closes meanwhile is closed.
func TestSlowProgramKeepsNothingOpen(t *testing.T) {
	program := copyOf(t, "/bin/true")
	s := scannertest.Scan(t, program)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	c, err := Start(Program{Path: program, Args: []string{"true"}})
	must(t, err)
	<-s.Asked
	must(t, w.Close())
	must(t, r.SetReadDeadline(time.Now().Add(time.Minute)))
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the pipe is open in a child that does not have it: %v", err)
	}
	s.Allow()
	must(t, c.Wait(context.Background()))
	c.reap()
}

// Nobody has to wait for a program that takes too long.
func TestSlowProgramIsGivenUp(t *testing.T) {
	program := copyOf(t, "/bin/true")
	s := scannertest.Scan(t, program)
	ctx, cancel := context.WithCancelCause(context.Background())
	c, err := Start(Program{Path: program, Args: []string{"true"}})
	must(t, err)
	<-s.Asked
	errOwn := errors.New("too late")
	cancel(errOwn)
	if err := c.Wait(ctx); !errors.Is(err, errOwn) {
		t.Errorf("%v, want %v", err, errOwn)
	}
	helpertest.Eventually(t, "the child is reaped", func() bool {
		return errors.Is(unix.Kill(c.PID, 0), unix.ESRCH)
	})
	s.Allow()
}
