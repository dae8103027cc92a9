//go:build amd64 || arm64

package spawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProgramHasExactlyItsDescriptors(t *testing.T) {
	open := func(flags int) uintptr { // also without close-on-exec
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|flags, 0)
		must(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		return uintptr(fd)
	}
	a, b, c := open(0), open(unix.O_CLOEXEC), open(0)
	far := slices.Repeat([]uintptr{None}, 20)
	for name, files := range map[string][]uintptr{
		"none":                {},
		"in order":            {a, b, c},
		"in another order":    {c, a, b},
		"twice":               {a, a},
		"with a gap":          {None, a, None, b},
		"in each other's way": append(far, a, b, c, a, c),
	} {
		t.Run(name, func(t *testing.T) {
			p := shell(`for fd in $0; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true`, numbers(0, 40))
			p.Files = files
			want := "1\n2\n"
			for i, fd := range files {
				if fd != None {
					want += fmt.Sprintln(3 + i)
				}
			}
			if got := outputOf(t, p); got != want {
				t.Errorf("the program has the descriptors %q, want %q", got, want)
			}
		})
	}
}

// numbers returns some in a row.
func numbers(from, to int) string {
	var list []string
	for n := from; n < to; n++ {
		list = append(list, fmt.Sprint(n))
	}
	return strings.Join(list, " ")
}

func TestDescriptorsAreTheGivenFiles(t *testing.T) {
	var files []uintptr
	var want []string
	for range 20 {
		f, err := os.CreateTemp(t.TempDir(), "")
		must(t, err)
		defer f.Close()
		files, want = append(files, f.Fd()), append(want, f.Name())
	}
	slices.Reverse(files)
	slices.Reverse(want)
	p := shell(`for fd in $0; do readlink /proc/$$/fd/$fd; done`, numbers(3, 3+len(files)))
	p.Files = files
	p.Env = []string{"PATH=" + os.Getenv("PATH")}
	if got := strings.Fields(outputOf(t, p)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgramHasArgumentsEnvironmentAndDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	p := shell(`echo "$0|$1|$2|$COLOUR|$EMPTY|$(pwd)"`, "a name", "", "two words")
	p.Env, p.Dir = []string{"COLOUR=blue", "EMPTY="}, dir
	if got, want := outputOf(t, p), "a name||two words|blue||"+dir+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A program begins with the default action of each signal that this process catches, and with none
// blocked; what is ignored stays so.
func TestSignalsOfTheProgram(t *testing.T) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGUSR1, unix.SIGHUP)
	signal.Ignore(unix.SIGUSR2)
	defer signal.Reset(unix.SIGUSR1, unix.SIGUSR2, unix.SIGHUP)
	got := outputOf(t, shell(`while read -r name value; do case $name in Sig[BIC]*) echo $name $value; esac; done </proc/$$/status`))
	for name, want := range map[string]string{
		"SigBlk": "0000000000000000",
		"SigIgn": fmt.Sprintf("%016x", 1<<(unix.SIGUSR2-1)),
	} {
		if !strings.Contains(got, name+": "+want+"\n") {
			t.Errorf("the program has\n%swant %s %s", got, name, want)
		}
	}
}

func TestProgramsThatCannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	must(t, os.WriteFile(text, []byte("no program"), 0o755))
	for name, c := range map[string]struct {
		program Program
		want    error
		says    string
	}{
		"no file":          {Program{Path: dir + "/none"}, unix.ENOENT, ""},
		"a directory":      {Program{Path: dir}, unix.EACCES, ""},
		"no program":       {Program{Path: text}, unix.ENOEXEC, ""},
		"no directory":     {Program{Path: "/bin/sh", Dir: dir + "/none"}, unix.ENOENT, dir + "/none"},
		"a long argument":  {Program{Path: "/bin/sh", Args: []string{"", strings.Repeat("x", 1<<20)}}, unix.E2BIG, ""},
		"a zero byte":      {Program{Path: "/bin\x00/sh"}, unix.EINVAL, ""},
		"a closed file":    {Program{Path: "/bin/sh", Files: []uintptr{4000}}, unix.EBADF, ""},
		"a zero in an env": {Program{Path: "/bin/sh", Env: []string{"A=\x00"}}, unix.EINVAL, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pid, err := start(c.program)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v and %q", err, c.want, c.says)
			}
			if pid != 0 {
				assertEnded(t, pid)
			}
		})
	}
}

func start(p Program) (pid int, err error) {
	c, err := Start(p)
	if err != nil {
		return 0, err
	}
	return c.PID, c.Wait(context.Background())
}

// A child shares our memory until it executes its program: nothing that happens meanwhile may
// disturb either of them.
func TestManyStartsUnderStress(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	var stress, starts sync.WaitGroup
	stress.Go(func() { // ends with ctx
		for ctx.Err() == nil {
			_ = unix.Kill(os.Getpid(), unix.SIGUSR1)
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	})
	for worker := range 4 {
		starts.Go(func() {
			for i := range 50 {
				want := strings.Repeat("x", worker*1000+i)
				if got := outputOf(t, shell(`echo $0`, want)); got != want+"\n" {
					t.Errorf("the program says %.40q, want %.40q", got, want)
				}
			}
		})
	}
	starts.Wait()
	cancel()
	stress.Wait()
}
