//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
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

// service is a running echo, with all of its generations.
type service struct {
	addr  string
	first *exec.Cmd
	ended chan struct{} // closed when no process is left that has our end of the log
	exit  chan error    // of the first process

	mu   sync.Mutex
	log  bytes.Buffer
	pids []int // of the generations that have taken over, in their order
}

// startService builds echo and starts it, on another port if somebody else gets hold of the free one first.
func startService(t *testing.T) *service {
	t.Helper()
	path := filepath.Join(t.TempDir(), "echo")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build echo: %v\n%s", err, out)
	}
	for range 3 {
		s := launch(t, path, freePort(t))
		if s.accepts() {
			return s
		}
	}
	t.Fatal("echo does not start")
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func launch(t *testing.T, path, addr string) *service {
	t.Helper()
	log, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: addr, first: exec.Command(path, addr), ended: make(chan struct{}), exit: make(chan error, 1)}
	s.first.Stderr = stderr // its successors inherit it
	if err := errors.Join(s.first.Start(), stderr.Close()); err != nil {
		t.Fatal(err)
	}
	go func() { s.exit <- s.first.Wait() }() // ends with the process
	go s.follow(log)                         // ends with the last process
	t.Cleanup(func() { s.cleanUp(t) })
	return s
}

// upgradeFinished is how the log speaks of a new generation.
var upgradeFinished = regexp.MustCompile(`upgrade finished .*successor=(\d+)`)

// follow reads the log until the last process has ended.
func (s *service) follow(log io.ReadCloser) {
	defer close(s.ended)
	defer log.Close()
	for lines := bufio.NewScanner(log); lines.Scan(); {
		s.mu.Lock()
		fmt.Fprintln(&s.log, lines.Text())
		if found := upgradeFinished.FindStringSubmatch(lines.Text()); found != nil {
			pid, _ := strconv.Atoi(found[1]) // digits
			s.pids = append(s.pids, pid)
		}
		s.mu.Unlock()
	}
}

// generations gives the processes that have taken over.
func (s *service) generations() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int{s.first.Process.Pid}, s.pids...)
}

// accepts reports whether the service answers, in contrast to a process that has ended.
func (s *service) accepts() bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := dial(s.addr); err == nil {
			defer c.Close()
			return c.echo("hello") == nil
		}
		select {
		case <-s.ended:
			return false
		default:
		}
	}
	return false
}

// cleanUp ends what a failed test leaves.
func (s *service) cleanUp(t *testing.T) {
	select {
	case <-s.ended:
	default:
		for _, pid := range s.generations() {
			if !gone(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	if t.Failed() {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.Logf("log of echo:\n%s", &s.log)
	}
}

// serving gives the youngest of them.
func (s *service) serving() int {
	pids := s.generations()
	return pids[len(pids)-1]
}

// upgrade has the serving process replaced.
func (s *service) upgrade(t *testing.T) {
	t.Helper()
	old := s.serving()
	signalTo(t, old, syscall.SIGHUP)
	eventually(t, "upgrade", func() bool { return s.serving() != old })
}

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// state is the letter of proc_pid_stat(5) for a process, such as T for one that is stopped; "" if there is no such process.
func state(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	end := bytes.LastIndexByte(stat, ')') // of its name
	if err != nil || end < 0 || len(stat) < end+3 {
		return ""
	}
	return string(stat[end+2])
}

// gone reports whether a process has ended. One that only waits for its parent or init to take notice has.
func gone(pid int) bool {
	now := state(pid)
	return now == "" || now == "Z" || now == "X"
}
