//go:build unix

package process

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("exit", exitHelper)
	helpertest.Register("wait", waitHelper)
}

// exitHelper exits with the code in its argument or, after a minus, by that signal.
func exitHelper() error {
	code, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	if code < 0 {
		if err := syscall.Kill(os.Getpid(), syscall.Signal(-code)); err != nil {
			return err
		}
		helpertest.Hang() // until the signal comes
	}
	os.Exit(code)
	return nil
}

// waitHelper lives until its standard input ends.
func waitHelper() error {
	_, err := os.Stdin.Read(make([]byte, 1))
	if err != nil && err.Error() != "EOF" {
		return err
	}
	return nil
}

// startWaiting starts a process that lives until the given file is closed.
func startWaiting(t *testing.T) (*Child, *os.File) {
	t.Helper()
	r, w := pipe(t)
	spec := helperSpec(t, "wait")
	spec.Files[0] = r.Fd()
	c := startChild(t, spec)
	must(t, r.Close())
	return c, w
}

func TestState(t *testing.T) {
	for arg, want := range map[string]string{
		"0": "exit status 0", "3": "exit status 3", "255": "exit status 255",
		"-9": "signal: killed", "-15": "signal: terminated",
	} {
		c := startChild(t, helperSpec(t, "exit", arg))
		if got := c.State(); got != want {
			t.Errorf("%s: got %q, want %q", arg, got, want)
		}
		if !isClosed(c.Exited()) {
			t.Errorf("%s: the state is known, and Exited is open", arg)
		}
	}
}

func TestExited(t *testing.T) {
	c, stdin := startWaiting(t)
	if isClosed(c.Exited()) {
		t.Error("the child has ended too early")
	}
	must(t, stdin.Close())
	closes(t, "the child ends", c.Exited())
}

func TestKill(t *testing.T) {
	c, _ := startWaiting(t)
	must(t, c.Kill())
	if got := c.State(); got != "signal: killed" {
		t.Errorf("got %q", got)
	}
	must(t, c.Kill()) // its number may be another's now
}

func TestKillByManyGoroutines(t *testing.T) {
	c, stdin := startWaiting(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := c.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
	must(t, stdin.Close()) // it ends by itself while it is killed
	wg.Wait()
	closes(t, "the child ends", c.Exited())
}

// A child is waited for even if nobody asks for its end.
func TestEndedChildIsNoZombie(t *testing.T) {
	c, err := Start(context.Background(), helperSpec(t, "exit", "0"))
	must(t, err)
	helpertest.Eventually(t, "the child is reaped",
		func() bool { return errors.Is(unix.Kill(c.PID(), 0), unix.ESRCH) })
	<-c.Exited()
	if _, err := unix.Wait4(c.PID(), nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("wait4: %v, want ECHILD", err)
	}
}

// The application itself waits for its own children.
func TestOtherChildrenAreNotWaitedFor(t *testing.T) {
	spec := helperSpec(t, "exit", "5")
	other, err := start(context.Background(), spec)
	must(t, err)
	startChild(t, helperSpec(t, "exit", "0")).State()
	var status unix.WaitStatus
	if pid, err := unix.Wait4(other, &status, 0, nil); pid != other || err != nil ||
		status.ExitStatus() != 5 {
		t.Errorf("got %d, %v, status %d; want the application's own child",
			pid, err, status.ExitStatus())
	}
}

// An application that waits for any child, such as the first process of a container, may be faster.
// Then the state is lost, which must not hang, look like a success, or leak a descriptor.
func TestStateThatSomebodyElseTook(t *testing.T) {
	spec := helperSpec(t, "exit", "0")
	before := len(helpertest.OpenDescriptors())
	pid, err := start(context.Background(), spec)
	must(t, err)
	proc, err := os.FindProcess(pid)
	must(t, err)
	_, err = unix.Wait4(pid, nil, 0, nil)
	must(t, err)

	c := &Child{pid: pid, proc: proc, exited: make(chan struct{})}
	c.wait()

	got, want := c.State(), "exit status unknown (something else has waited for the process)"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	must(t, c.Kill())
	if now := len(helpertest.OpenDescriptors()); now != before {
		t.Errorf("%d descriptors are left", now-before)
	}
}

// Both may wait at the same time.
func TestStateThatSomebodyElseMayTake(t *testing.T) {
	c, stdin := startWaiting(t)
	done := make(chan struct{})
	go func() { // ends with the child
		defer close(done)
		_, _ = unix.Wait4(c.PID(), nil, 0, nil)
	}()
	must(t, stdin.Close())
	closes(t, "the child is reaped", done)
	closes(t, "the end is noticed", c.Exited())
	if got := c.State(); got != "exit status 0" &&
		got != "exit status unknown (something else has waited for the process)" {
		t.Errorf("got %q", got)
	}
	must(t, c.Kill())
}
