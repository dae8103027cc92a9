//go:build linux

// Package servicetest starts a service in a test, and follows all of its generations by the lines
// that they print. What they print goes to a pipe, which each inherits from the one before: at its
// end, none is left.
//
// The program under test is mostly the test binary itself, so that the race detector watches it
// too: see [Main] and [Command]. When the test ends, so do all processes of the service, and the
// lines are logged if the test has failed.
package servicetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a test waits for something that will happen. It bounds a failure, and not a
// success.
const Patience = 30 * time.Second

// Service is a program with all its generations, each of which prints lines that mean an L. Several
// goroutines may use it, but those methods that can end the test are for the test's own.
type Service[L any] struct {
	t        testing.TB
	patience time.Duration
	first    *exec.Cmd
	exited   chan struct{} // closed when the first process has ended
	exit     error         // how, from then on
	ended    chan struct{} // closed when no process has the pipe any longer

	mu    sync.Mutex
	log   strings.Builder
	lines []L
	pids  []int
	ready map[int]int   // the processes of the generations that have become ready
	more  chan struct{} // closed and replaced when there is another line
}

// StartJSON starts a program whose lines are on its standard output, each a JSON object that tells
// PID, Generation, What and Err, and anything else that L has. What is "ReadyFinished" if the
// process serves, or cannot because of Err. Lines of another form are only logged.
func StartJSON[L any](t testing.TB, cmd *exec.Cmd) *Service[L] {
	t.Helper()
	return start(t, cmd, &cmd.Stdout, parseJSON[L])
}

// StartLog starts a program that logs the events of its Manager on its standard error, by the
// default logger.
func StartLog(t testing.TB, cmd *exec.Cmd) *Service[string] {
	t.Helper()
	return start(t, cmd, &cmd.Stderr, parseLog)
}

// start takes the command's ExtraFiles. Processes of which the parent ends become children of the
// test's, so that no number of a process is used again before the service has ended.
func start[L any](t testing.TB, cmd *exec.Cmd, output *io.Writer, parse parser[L]) *Service[L] {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	*output = in
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	err = errors.Join(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), cmd.Start(), in.Close())
	for _, f := range cmd.ExtraFiles {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &Service[L]{
		t: t, patience: Patience, first: cmd,
		exited: make(chan struct{}), ended: make(chan struct{}),
		pids: []int{cmd.Process.Pid}, ready: map[int]int{}, more: make(chan struct{}),
	}
	go s.read(out, parse) // ends with the last process
	go func() {           // ends with the first
		defer close(s.exited)
		s.exit = cmd.Wait()
	}()
	t.Cleanup(s.end)
	return s
}

func (s *Service[L]) read(out io.ReadCloser, parse parser[L]) {
	defer close(s.ended)
	defer out.Close() //nolint:errcheck // it has been read
	for in := bufio.NewScanner(out); in.Scan(); {
		line, from, err := parse(in.Text())
		s.mu.Lock()
		fmt.Fprintln(&s.log, in.Text())
		if err == nil {
			s.lines = append(s.lines, line)
			s.heardOf(from)
		}
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

func (s *Service[L]) heardOf(from origin) {
	if from.pid > 1 && !slices.Contains(s.pids, from.pid) {
		s.pids = append(s.pids, from.pid)
	}
	if from.ready {
		s.ready[from.generation] = from.pid
	}
}

// Lines returns all lines until now. They are not to be changed.
func (s *Service[L]) Lines() []L {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.lines)
}

// Log returns all lines until now as they were printed.
func (s *Service[L]) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// PIDs returns the first process, and all that have spoken until now, even those that are gone.
func (s *Service[L]) PIDs() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pids)
}

// Newest returns the last generation that has become ready, and its process; 0 if there is none
// yet.
func (s *Service[L]) Newest() (generation, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range maps.Keys(s.ready) {
		generation = max(generation, n)
	}
	return generation, s.ready[generation]
}

// Await waits for a line, and returns the first that is meant.
func (s *Service[L]) Await(what string, is func(L) bool) (line L) {
	s.t.Helper()
	found := s.wait(func() bool {
		lines := s.Lines()
		i := slices.IndexFunc(lines, is)
		if i >= 0 {
			line = lines[i]
		}
		return i >= 0
	})
	if !found {
		s.t.Fatalf("waited in vain for %s", what)
	}
	return line
}

// AwaitReady waits until a generation serves, and returns its process.
func (s *Service[L]) AwaitReady(generation int) (pid int) {
	s.t.Helper()
	ready := s.wait(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		pid = s.ready[generation]
		return pid > 0
	})
	if !ready {
		s.t.Fatalf("generation %d does not become ready", generation)
	}
	return pid
}

// Signal sends a signal to the process of the newest generation, and returns its number.
func (s *Service[L]) Signal(sig syscall.Signal) (generation int) {
	s.t.Helper()
	generation, pid := s.Newest()
	if err := unix.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
	return generation
}

// Upgrade has the newest generation replaced, and returns the process of the next one, which serves
// by now.
func (s *Service[L]) Upgrade() (pid int) {
	s.t.Helper()
	return s.AwaitReady(s.Signal(unix.SIGHUP) + 1)
}

// wait reports whether something holds, now or after a further line.
func (s *Service[L]) wait(holds func() bool) bool {
	timeout := time.After(s.patience)
	for {
		s.mu.Lock()
		more := s.more
		s.mu.Unlock()
		if holds() {
			return true
		}
		select {
		case <-more:
		case <-s.ended:
			return holds()
		case <-timeout:
			return false
		}
	}
}
