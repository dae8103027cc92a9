package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("undumpable", undumpableHelper)
	helpertest.Register("limited", limitedHelper)
	helpertest.Register("no-proc", noProcHelper)
}

// withoutName returns an open program without a name, so nothing else can be started instead.
func withoutName(t *testing.T) *Executable {
	t.Helper()
	path := copySelf(t)
	e := openedExecutable(t, path)
	must(t, os.Remove(path))
	return e
}

func TestStartOfExecutableWithoutItsName(t *testing.T) {
	spec := helperSpec(t, "look")
	spec.Path, spec.Executable = "/gone", withoutName(t)
	spec.Args[0] = "a name of its own"
	got := look(t, spec)
	if got.Args[0] != spec.Args[0] || len(got.Files) != 3 {
		t.Errorf("the child has %+v", got)
	}
}

// However descriptors are moved in the child, the child gets the given ones and not that of the
// program.
func TestStartOfExecutableAmongManyDescriptors(t *testing.T) {
	const count = 150
	e := withoutName(t)
	spec := helperSpec(t, "look")
	pool := make([]uintptr, 0, count)
	for range count / 2 {
		r, w := pipe(t)
		pool = append(pool, r.Fd(), w.Fd())
	}
	for round := range 12 {
		spec.Path, spec.Executable = "/gone", e
		rand.Shuffle(count, func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		spec.Files = append(spec.Files[:3:3], pool[:count-round*10]...)
		want := make(map[int]string)
		for i, fd := range spec.Files {
			want[i] = identity(fd)
		}
		before := len(helpertest.OpenDescriptors())
		got := look(t, spec).Files
		for i := range max(len(got), len(want)) {
			if i != 1 && got[i] != want[i] { // 1 is the child's output
				t.Errorf("the child's descriptor %d is %q, want %q", i, got[i], want[i])
			}
		}
		// the test's Cleanup closes the pipe of outputOf
		if now := len(helpertest.OpenDescriptors()); now > before+2 {
			t.Errorf("%d descriptors are left", now-before)
		}
	}
}

func TestOpenOfScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700))
	if _, err := OpenExecutable(path); err == nil ||
		!strings.Contains(err.Error(), path+" is a script") {
		t.Errorf("got %v", err)
	}
}

// Programs that the check calls can use the path too.
func TestExecutableIsReadByOtherPrograms(t *testing.T) {
	e := withoutName(t)
	out, err := exec.Command("/bin/sh", "-c", `head -c 4 "$0"`, e.Path()).Output()
	if string(out) != "\x7fELF" || err != nil {
		t.Errorf("head says %q, %v", out, err)
	}
}

// undumpableHelper is a process whose /proc belongs to root, as one with file capabilities is.
func undumpableHelper() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	e, err := OpenExecutable(os.Args[1])
	if err != nil {
		return err
	}
	defer e.Close()
	if _, err := os.ReadFile(e.Path()); err != nil {
		return err
	}
	return runExit(e)
}

// runExit starts the program as the exit helper.
func runExit(e *Executable) error {
	c, err := Start(context.Background(), Spec{
		Path: "/gone", Args: []string{"x", "0"}, Env: helpertest.Use("exit"),
		Files: Stdio(), Executable: e,
	})
	if err != nil {
		return err
	}
	if c.State() != "exit status 0" {
		return errors.New(c.State())
	}
	return nil
}

func TestExecutableOfUndumpableProcess(t *testing.T) {
	outputOf(t, helperSpec(t, "undumpable", copySelf(t)))
}

// limitedHelper passes the last descriptor below the limit, so that none is left above it.
func limitedHelper() error {
	const limit = 40
	e, err := OpenExecutable(os.Args[1])
	if err != nil {
		return err
	}
	defer e.Close()
	err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit})
	if err != nil {
		return err
	}
	last, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, limit-1)
	if err != nil {
		return err
	}
	before := len(helpertest.OpenDescriptors())
	_, err = Start(context.Background(),
		Spec{Path: "/gone", Files: []uintptr{0, 1, 2, uintptr(last)}, Executable: e})
	fmt.Println(err, len(helpertest.OpenDescriptors())-before)
	return runExit(e)
}

func TestExecutableAtTheLimitOfDescriptors(t *testing.T) {
	got := outputOf(t, helperSpec(t, "limited", copySelf(t)))
	if !strings.Contains(got, "raise the limit on open files (RLIMIT_NOFILE)") ||
		!strings.HasSuffix(got, " 0\n") {
		t.Errorf("the error, and what is left open: %q", got)
	}
}

// noProcHelper hides /proc in its own mount namespace, and then makes directories that look alike.
func noProcHelper() error {
	if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
		return err
	}
	_, err := OpenExecutable(os.Args[1])
	fmt.Println(err)
	err = errors.Join(os.Symlink("1", "/proc/self"), os.MkdirAll("/proc/1/fd", 0o700))
	if err != nil {
		return err
	}
	for fd := range 100 {
		err := os.WriteFile(descriptorPath("1", fd), []byte("another program"), 0o700)
		if err != nil {
			return err
		}
	}
	_, err = OpenExecutable(os.Args[1])
	fmt.Println(err)
	return nil
}

func TestExecutableWithoutProc(t *testing.T) {
	spec := helperSpec(t, "no-proc")
	cmd := exec.Command(spec.Path, copySelf(t))
	cmd.Env = spec.Env
	helpertest.InNamespaces(t, cmd, syscall.CLONE_NEWNS)
	got, err := cmd.Output()
	if err != nil || strings.Count(string(got), "is /proc mounted?") != 2 {
		t.Errorf("got %s, %v", got, err)
	}
}
