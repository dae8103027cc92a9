//go:build unix

package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("look", lookHelper)
	helpertest.Register("stdio", stdioHelper)
}

// view is what a started process sees of the world.
type view struct {
	Args  []string
	Env   []string
	Dir   string
	Files map[int]string // identities of the inherited descriptors
}

func lookHelper() error {
	v := view{Args: os.Args, Env: os.Environ(), Files: make(map[int]string)}
	for fd := range 1024 {
		// Inherited descriptors lack FD_CLOEXEC and everything Go opens has it.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil &&
			flags&unix.FD_CLOEXEC == 0 {
			v.Files[fd] = identity(uintptr(fd))
		}
	}
	var err error
	if v.Dir, err = os.Getwd(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// identity is the same for all descriptors of a file.
func identity(fd uintptr) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

func look(t *testing.T, spec Spec) (v view) {
	t.Helper()
	must(t, json.Unmarshal([]byte(outputOf(t, spec)), &v))
	return v
}

func TestStartPassesExactlyTheGivenDescriptors(t *testing.T) {
	ln, file := listener(t), helpertest.OpenFile(t, os.Args[0])
	r, w := helpertest.OpenFile(t, os.DevNull), helpertest.OpenFile(t, os.TempDir())
	spec := helperSpec(t, "look")
	// Some of these have a number that another of them gets in the child.
	spec.Files = append(spec.Files, file.Fd(), socketFD(t, ln), r.Fd(), w.Fd(), file.Fd())
	want := make(map[int]string)
	for i, fd := range spec.Files {
		want[i] = identity(fd)
	}
	got := look(t, spec).Files
	for i := range max(len(got), len(want)) {
		if i != 1 && got[i] != want[i] { // 1 is the child's output
			t.Errorf("the child's descriptor %d is %q, want %q", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("the child has the descriptors %v, want %d", got, len(want))
	}
}

func TestStartWithNothing(t *testing.T) {
	got := look(t, helperSpec(t, "look"))
	if len(got.Files) != 3 || len(got.Args) != 1 || len(got.Env) != 2 {
		t.Errorf("a child without descriptors, arguments and environment has %+v", got)
	}
}

func TestStartPassesArgumentsEnvironmentAndDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	spec := helperSpec(t, "look", "-flag", "", "two words")
	spec.Args[0] = "a name of its own"
	spec.Dir = dir
	spec.Env = append(spec.Env, "COLOUR=blue", "EMPTY=")
	got := look(t, spec)
	if !slices.Equal(got.Args, spec.Args) || got.Dir != dir {
		t.Errorf("got the arguments %q in %s, want %q in %s", got.Args, got.Dir, spec.Args, dir)
	}
	slices.Sort(got.Env)
	want := slices.Sorted(slices.Values(spec.Env))
	if !slices.Equal(slices.DeleteFunc(got.Env, isPWD), want) {
		t.Errorf("got the environment %q, want %q", got.Env, want)
	}
}

func isPWD(entry string) bool { return strings.HasPrefix(entry, "PWD=") }

// All processes that have a socket share its mode. If it changed, the old process's Accept would
// block a thread.
func TestStartKeepsNonblockingMode(t *testing.T) {
	r, w := pipe(t)
	blocking, err := unix.FcntlInt(r.Fd(), unix.F_GETFL, 0)
	must(t, err)
	must(t, unix.SetNonblock(int(r.Fd()), false))
	spec := helperSpec(t, "look")
	ln := socketFD(t, listener(t))
	spec.Files = append(spec.Files, ln, r.Fd(), w.Fd())
	look(t, spec)
	for fd, want := range map[uintptr]bool{ln: true, r.Fd(): false} {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil ||
			flags&unix.O_NONBLOCK != 0 != want {
			t.Errorf("descriptor %d is in non-blocking mode: %t, %v (%d)", fd, !want, err, blocking)
		}
	}
}

func listener(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.(*net.TCPListener)
}

func socketFD(t *testing.T, conn syscall.Conn) (number uintptr) {
	t.Helper()
	raw, err := conn.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { number = fd }))
	return number
}

// stdioHelper closes its standard input and starts a shell with the descriptors of Stdio. With an
// argument it first opens a file, which gets the number 0. The shell leaves a closed standard
// stream closed; the runtime of a Go program would open it again.
func stdioHelper() error {
	if err := os.Stdin.Close(); err != nil {
		return err
	}
	if len(os.Args) > 1 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer f.Close()
		if f.Fd() != 0 {
			return fmt.Errorf("the file has the number %d", f.Fd())
		}
	}
	script := `exec 2>&-; for fd in 0 1 3; do if (exec 9<&$fd); then echo $fd; fi; done`
	spec := Spec{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Files: Stdio()}
	c, err := Start(context.Background(), spec)
	if err != nil {
		return err
	}
	if c.State() != "exit status 0" {
		return errors.New(c.State())
	}
	return nil
}

func TestStdioThatIsClosedStaysClosed(t *testing.T) {
	for _, spec := range []Spec{
		helperSpec(t, "stdio"), helperSpec(t, "stdio", "and another file took the number"),
	} {
		if got := outputOf(t, spec); got != "1\n" {
			t.Errorf("%q: of the descriptors 0, 1 and 3 the child has %q, want 1",
				spec.Args[1:], got)
		}
	}
}

func TestStdio(t *testing.T) {
	if got := Stdio(); !slices.Equal(got, []uintptr{0, 1, 2}) {
		t.Errorf("got %d", got)
	}
}

func TestStartOfWhatCannotBeStarted(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	must(t, os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o600))
	garbage := filepath.Join(t.TempDir(), "garbage")
	must(t, os.WriteFile(garbage, []byte("\x7fELF, or nearly so"), 0o700))
	tests := []struct {
		what, path, dir string
		want            error
	}{
		{"missing", filepath.Join(t.TempDir(), "missing"), "", os.ErrNotExist},
		{"not executable", plain, "", os.ErrPermission},
		{"a directory", t.TempDir(), "", os.ErrPermission},
		{"no program", garbage, "", syscall.ENOEXEC},
		{"a missing directory", os.Args[0], filepath.Join(t.TempDir(), "missing"), os.ErrNotExist},
	}
	for _, tt := range tests {
		before := len(helpertest.OpenDescriptors())
		began := time.Now()
		c, err := Start(context.Background(), Spec{Path: tt.path, Args: []string{"x"}, Dir: tt.dir})
		if c != nil || !errors.Is(err, tt.want) ||
			!strings.Contains(err.Error(), "start "+tt.path) {
			t.Errorf("%s: got %v; want an error that names %s and matches %v",
				tt.what, err, tt.path, tt.want)
		}
		if took := time.Since(began); took > busyTotal {
			t.Errorf("%s: it took %v to find out", tt.what, took)
		}
		if now := len(helpertest.OpenDescriptors()); now != before {
			t.Errorf("%s: %d descriptors are left", tt.what, now-before)
		}
	}
}

// installing returns a program that is open for writing, as while it is copied into its place.
func installing(t *testing.T) (Spec, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 7\n"), 0o700))
	program, err := os.ReadFile("/bin/sh") // not a script: the kernel checks the interpreter's file
	must(t, err)
	must(t, os.WriteFile(path, program, 0o700))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	spec := Spec{Path: path, Args: []string{"sh", "-c", "exit 7"}}
	if _, err := start(context.Background(), spec); !isBusy(err) {
		t.Fatalf("a program that is open for writing: %v, want ETXTBSY", err)
	}
	return spec, f
}

func TestStartOfBusyProgram(t *testing.T) {
	spec, f := installing(t)
	time.AfterFunc(30*time.Millisecond, func() { _ = f.Close() })
	if got := startChild(t, spec).State(); got != "exit status 7" {
		t.Errorf("got %q", got)
	}
}

func TestStartOfProgramThatStaysBusy(t *testing.T) {
	spec, _ := installing(t)
	began := time.Now()
	_, err := Start(context.Background(), spec)
	if !errors.Is(err, syscall.ETXTBSY) {
		t.Errorf("got %v, want ETXTBSY", err)
	}
	if took := time.Since(began); took < busyTotal/2 {
		t.Errorf("it was given up after %v", took)
	}
}

func TestStartOfBusyProgramEndsWithContext(t *testing.T) {
	spec, _ := installing(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
	began := time.Now()
	_, err := Start(ctx, spec)
	if !errors.Is(err, cause) || !errors.Is(err, syscall.ETXTBSY) {
		t.Errorf("got %v, want the context's cause, and what was waited for", err)
	}
	if took := time.Since(began); took >= busyTotal {
		t.Errorf("it took %v", took)
	}
}
