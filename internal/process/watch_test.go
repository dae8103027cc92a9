//go:build unix

package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("parent", parentHelper)
	helpertest.Register("poll", pollHelper)
}

// parentHelper starts the helper that is its argument, prints its number, and exits when its
// standard input ends. Descriptor 3 becomes the grandchild's standard input, and 4 its output.
func parentHelper() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := Start(context.Background(), Spec{
		Path: self, Args: []string{self}, Env: helpertest.Use(os.Args[1]),
		Files: []uintptr{3, 4, 2},
	})
	if err != nil {
		return err
	}
	fmt.Println(c.PID())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// family is a child and a grandchild.
type family struct {
	child      *Child
	grandchild int
	endChild   func() // lets the child end
	endOther   func() // lets the grandchild end
	output     io.Reader
}

func startFamily(t *testing.T, helper string) family {
	t.Helper()
	helpertest.Use(helper)
	childIn, endChild := pipe(t)
	childOut, w := pipe(t)
	otherIn, endOther := pipe(t)
	otherOut, ow := pipe(t)
	spec := helperSpec(t, "parent", helper)
	spec.Files = []uintptr{childIn.Fd(), w.Fd(), 2, otherIn.Fd(), ow.Fd()}
	c := startChild(t, spec)
	must(t, errors.Join(childIn.Close(), w.Close(), otherIn.Close(), ow.Close()))
	line, err := bufio.NewReader(childOut).ReadString('\n')
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	must(t, err)
	return family{child: c, grandchild: pid, output: otherOut,
		endChild: func() { _ = endChild.Close() }, endOther: func() { _ = endOther.Close() }}
}

func watch(t *testing.T, pid int) *Watched {
	t.Helper()
	w, err := Watch(pid)
	must(t, err)
	t.Cleanup(w.Close)
	if w.PID() != pid {
		t.Errorf("process %d is watched instead of %d", w.PID(), pid)
	}
	return w
}

func TestWatchChild(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("without process descriptors only the parent can be watched")
	}
	c, stdin := startWaiting(t)
	w := watch(t, c.PID())
	if isClosed(w.Gone()) {
		t.Error("a living process is gone")
	}
	must(t, stdin.Close())
	closes(t, "the end is noticed", w.Gone())
}

func TestWatchProcessThatIsNoChild(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("without process descriptors only the parent can be watched")
	}
	f := startFamily(t, "wait")
	w := watch(t, f.grandchild)
	f.endChild()
	closes(t, "the child ends", f.child.Exited())
	if isClosed(w.Gone()) {
		t.Error("the grandchild is gone with its parent")
	}
	f.endOther()
	closes(t, "the end is noticed", w.Gone())
}

func TestWatchOfEndedProcess(t *testing.T) {
	c := startChild(t, helperSpec(t, "exit", "0"))
	<-c.Exited()
	if w, err := Watch(c.PID()); err == nil ||
		!strings.Contains(err.Error(), strconv.Itoa(c.PID())) {
		t.Errorf("got %v, %v; want an error with the number of the process", w, err)
	}
	for _, pid := range []int{0, -1} {
		if w, err := Watch(pid); err == nil {
			w.Close()
			t.Errorf("process %d is watched", pid)
		}
	}
}

func TestWatchParent(t *testing.T) {
	w := watch(t, os.Getppid())
	if isClosed(w.Gone()) {
		t.Error("the parent is gone, says the watch")
	}
}

// A closed watch leaves nothing behind, whether or not the process has ended.
func TestWatchClose(t *testing.T) {
	before, goroutines := len(helpertest.OpenDescriptors()), runtime.NumGoroutine()
	for range 20 {
		w, err := Watch(os.Getppid())
		must(t, err)
		w.Close()
		w.Close()
		if isClosed(w.Gone()) {
			t.Error("a living process is gone because nobody watches it")
		}
	}
	helpertest.Eventually(t, "no descriptor and no goroutine is left", func() bool {
		return len(helpertest.OpenDescriptors()) == before && runtime.NumGoroutine() <= goroutines
	})
}

func TestWatchThatHasEndedLeavesNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("without process descriptors only the parent can be watched")
	}
	spec := helperSpec(t, "wait")
	before := len(helpertest.OpenDescriptors())
	r, stdin := pipe(t)
	spec.Files[0] = r.Fd()
	c := startChild(t, spec)
	w, err := Watch(c.PID())
	must(t, errors.Join(err, r.Close(), stdin.Close()))
	closes(t, "the end is noticed", w.Gone())
	closes(t, "the child is reaped", c.Exited())
	helpertest.Eventually(t, "no descriptor is left",
		func() bool { return len(helpertest.OpenDescriptors()) == before })
	w.Close()
}

// pollHelper watches its parent as on systems without process descriptors.
func pollHelper() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &Watched{pid: os.Getppid(), gone: make(chan struct{}), stop: cancel}
	go w.pollParent(ctx) // ends with the parent or with Close
	fmt.Println("watching")
	select {
	case <-w.Gone():
		fmt.Println("gone")
	case <-time.After(time.Minute):
		fmt.Println("still there")
	}
	return nil
}

func TestWatchParentByPolling(t *testing.T) {
	f := startFamily(t, "poll")
	out := bufio.NewReader(f.output)
	for i, want := range []string{"watching\n", "gone\n"} {
		if got, err := out.ReadString('\n'); got != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if i == 0 {
			f.endChild()
		}
	}
}

func TestPollingEndsWithClose(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watched{pid: os.Getppid(), gone: make(chan struct{}), stop: cancel}
	ended := make(chan struct{})
	go func() { // ends with Close
		defer close(ended)
		w.pollParent(ctx)
	}()
	w.Close()
	closes(t, "the polling ends", ended)
	if isClosed(w.Gone()) {
		t.Error("a living parent is gone because nobody watches it")
	}
}

// Without a descriptor, only the parent is signalled, and only while it is the parent. (Signal 0
// only checks.)
func TestSignalWithoutDescriptor(t *testing.T) {
	parent := &Watched{pid: os.Getppid(), gone: make(chan struct{})}
	if err := parent.Signal(0); err != nil {
		t.Errorf("the parent: %v", err)
	}
	child := startChild(t, helperSpec(t, "wait")).PID()
	for what, pid := range map[string]int{"this process": os.Getpid(), "a child": child} {
		err := (&Watched{pid: pid, gone: make(chan struct{})}).Signal(0)
		if !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s, which is not the parent: %v", what, err)
		}
	}
	close(parent.gone)
	if err := parent.Signal(0); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a parent that is gone: %v", err)
	}
}
