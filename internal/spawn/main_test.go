//go:build linux && (amd64 || arm64)

package spawn

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

// outputOf runs a program of the system to its end.
func outputOf(t *testing.T, p Program) string {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	p.Files = append([]uintptr{None, w.Fd(), 2}, p.Files...)
	c, err := Start(p)
	must(t, err)
	must(t, w.Close())
	must(t, c.Wait(context.Background()))
	output, err := io.ReadAll(r)
	must(t, err)
	var status unix.WaitStatus
	if _, err := unix.Wait4(c.PID, &status, 0, nil); err != nil || status != 0 {
		t.Fatalf("%s: %v, status %#x; it says %q", p.Path, err, status, output)
	}
	return string(output)
}

// shell returns a shell that runs a command.
func shell(command string, args ...string) Program {
	return Program{Path: "/bin/sh", Args: append([]string{"sh", "-c", command}, args...)}
}

// assertEnded fails the test if a process is left, even as a zombie.
func assertEnded(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the process %d is left: %v", pid, err)
	}
}

// copyOf returns a copy of a program of the system.
func copyOf(t *testing.T, program string) string {
	t.Helper()
	content, err := os.ReadFile(program)
	must(t, err)
	path := filepath.Join(t.TempDir(), filepath.Base(program))
	must(t, os.WriteFile(path, content, 0o755))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
