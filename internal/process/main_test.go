//go:build unix

package process

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

// helperSpec returns this binary as one of the helpers. Its standard input is empty, and its output
// is that of the tests.
func helperSpec(t *testing.T, name string, args ...string) Spec {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	null, err := os.Open(os.DevNull)
	must(t, err)
	t.Cleanup(func() { _ = null.Close() })
	return Spec{
		Path: self, Args: append([]string{self}, args...), Files: []uintptr{null.Fd(), 1, 2},
		Env: helpertest.Use(name),
	}
}

// startChild starts a process that does not outlive the test.
func startChild(t *testing.T, spec Spec) *Child {
	t.Helper()
	c, err := Start(context.Background(), spec)
	must(t, err)
	t.Cleanup(func() {
		_ = c.Kill()
		<-c.Exited()
	})
	return c
}

// outputOf starts a process, waits for its end and returns its output.
func outputOf(t *testing.T, spec Spec) string {
	t.Helper()
	r, w := pipe(t)
	spec.Files[1] = w.Fd()
	c := startChild(t, spec)
	must(t, w.Close())
	said, err := io.ReadAll(r)
	must(t, err)
	if got := c.State(); got != "exit status 0" {
		t.Fatalf("%s: %s", spec.Path, got)
	}
	return string(said)
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// closes waits for a channel that another process is about to close.
func closes(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain: %s", what)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
