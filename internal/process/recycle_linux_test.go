package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() { helpertest.Register("recycle", recycleHelper) }

// Another process gets the number of a watched one that has ended. No signal reaches it.
func TestSignalNeverReachesARecycledNumber(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helpertest.Use("recycle")...)
	cmd.Stderr = os.Stderr
	helpertest.InNamespaces(t, cmd, syscall.CLONE_NEWPID) // in which numbers can be chosen
	out, err := cmd.Output()
	if got := string(out); err != nil || got != "the other process lives" {
		t.Errorf("got %q, %v", got, err)
	}
}

// recycleHelper is PID 1 of a namespace.
func recycleHelper() error {
	first, end, err := startLiving()
	if err != nil {
		return err
	}
	// Another process may hold it like this before it notices the end.
	handle := openHandle(first.PID())
	w, err := Watch(first.PID())
	if err != nil {
		return err
	}
	if err := w.Signal(0); err != nil {
		return fmt.Errorf("while it lives: %w", err)
	}
	end()
	<-first.Exited()
	second, end, err := startAs(first.PID())
	if err != nil {
		return err
	}
	for what, err := range map[string]error{
		"Watched": w.Signal(syscall.SIGKILL), "handle": signalHandle(handle, syscall.SIGKILL),
	} {
		if !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("%s: the signal was sent: %v", what, err)
		}
	}
	end()
	if state := second.State(); state != "exit status 0" {
		return fmt.Errorf("the other process ended by %s", state)
	}
	fmt.Print("the other process lives")
	return handle.Close()
}

// startLiving starts a process that ends when end is called.
func startLiving() (c *Child, end func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	c, err = Start(context.Background(), Spec{
		Path: "/proc/self/exe", Args: []string{"wait"}, Env: helpertest.Use("wait"),
		Files: []uintptr{r.Fd(), 1, 2},
	})
	return c, func() { _ = w.Close() }, err
}

// startAs starts processes until one gets the number, because threads of this process take numbers
// too.
func startAs(pid int) (c *Child, end func(), err error) {
	for range 1000 {
		err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0)
		if err != nil {
			return nil, nil, err
		}
		c, end, err = startLiving()
		if err != nil || c.PID() == pid {
			return c, end, err
		}
		end()
		<-c.Exited()
	}
	return nil, nil, fmt.Errorf("number %d could not be had again", pid)
}

// A Watched reports how its process has ended, if the kernel reports it, and can end it.
func TestWatchedStateAndSignal(t *testing.T) {
	for want, end := range map[string]func(w *Watched, stdin *os.File) error{
		"exit status 0": func(_ *Watched, stdin *os.File) error { return stdin.Close() },
		"signal: killed": func(w *Watched, _ *os.File) error {
			return w.Signal(syscall.SIGKILL)
		},
		"signal: terminated": func(w *Watched, _ *os.File) error {
			return w.Signal(syscall.SIGTERM)
		},
	} {
		c, stdin := startWaiting(t)
		w := watch(t, c.PID())
		must(t, end(w, stdin))
		closes(t, "the end is noticed", w.Gone())
		if got := w.State(t.Context()); got != want && kernelReports(t) {
			t.Errorf("%q instead of %q", got, want)
		}
		if err := w.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("a signal to a process that is gone: %v", err)
		}
	}
}

// kernelReports reports whether the kernel is Linux 6.15 or later.
func kernelReports(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	must(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	must(t, err)
	return major > 6 || major == 6 && minor >= 15
}

// Only a descriptor of a process can be watched.
func TestWatchHandleRefusesOthers(t *testing.T) {
	f, err := os.Open(os.DevNull)
	must(t, err)
	if w, err := WatchHandle(f, 12); err == nil ||
		!strings.Contains(err.Error(), "watch process 12") {
		t.Errorf("got %v, %v", w, err)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Error("the descriptor was left open")
	}
}
