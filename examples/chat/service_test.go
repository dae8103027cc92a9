//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take on a machine that is busy with something else.
const patience = 30 * time.Second

// service is the program with all its generations.
type service struct {
	addr string
	path string // of the program, a symbolic link
	log  logFile
	pids []int // of the generations that have served
}

// start starts the program. When the test ends, so does the service, and must not have complained.
func start(t *testing.T) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the program inherits it: nobody else can get hold of the port
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: ln.Addr().String(), path: filepath.Join(t.TempDir(), "chat"), log: logFile{ended: make(chan struct{})}}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.replace(t, self)
	cmd := exec.Command(s.path, s.addr)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	ln.Close()
	s.pids = append(s.pids, cmd.Process.Pid)
	go s.log.follow(out) // ends with the last process
	t.Cleanup(func() { s.end(t, cmd) })
	s.awaitReady(t, 1)
	return s
}

// replace installs another program.
func (s *service) replace(t *testing.T, target string) {
	t.Helper()
	if err := os.Symlink(target, s.path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		t.Fatal(err)
	}
}

func (s *service) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pids[len(s.pids)-1], sig); err != nil {
		t.Fatal(err)
	}
}

// upgrade has the serving process replaced.
func (s *service) upgrade(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGHUP)
	s.pids = append(s.pids, s.awaitReady(t, len(s.pids)+1))
}

// awaitReady waits until a generation serves, and gives its process.
func (s *service) awaitReady(t *testing.T, generation int) int {
	t.Helper()
	found := s.log.await(t, fmt.Sprintf(`INFO ready .*generation=%d pid=(\d+) `, generation))
	pid, _ := strconv.Atoi(found[1]) // digits
	return pid
}

// awaitDrained waits until a generation has nothing left to do.
func (s *service) awaitDrained(t *testing.T, generation int) {
	t.Helper()
	s.log.await(t, fmt.Sprintf(`INFO drain finished .*generation=%d `, generation))
}

// end sees to it that all generations are gone. A process that had to be told has had nothing to complain about until then.
func (s *service) end(t *testing.T, first *exec.Cmd) {
	_ = syscall.Kill(s.pids[len(s.pids)-1], syscall.SIGTERM) // the test may have done so
	select {
	case <-s.log.ended:
	case <-time.After(patience):
		for _, pid := range s.pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		t.Error("the service did not end")
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the first process ended with %v", err)
	}
	if t.Failed() {
		t.Log(s.log.String())
	}
}

// complaints are what a service logs that does not run well.
var complaints = regexp.MustCompile(`(?m)^.*( WARN | ERROR |DATA RACE|^panic: |^fatal error: ).*$`)

// logFile is what all generations have said.
type logFile struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ended chan struct{} // closed when no generation is left
}

// follow reads until the last process has ended.
func (l *logFile) follow(from io.Reader) {
	defer close(l.ended)
	for in := bufio.NewScanner(from); in.Scan(); {
		l.mu.Lock()
		fmt.Fprintln(&l.text, in.Text())
		l.mu.Unlock()
	}
}

// await waits for a line, and gives what the pattern finds in it.
func (l *logFile) await(t *testing.T, pattern string) []string {
	t.Helper()
	line := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if found := line.FindStringSubmatch(l.String()); found != nil {
			return found
		}
	}
	t.Fatalf("the log has no line like %s", pattern)
	return nil
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
