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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take on a machine that is busy with something else.
const patience = 30 * time.Second

// No ticket is given twice, though clients draw them while the program is upgraded three times.
func TestNoTicketIsGivenTwice(t *testing.T) {
	s := start(t)
	drawing := s.startDrawing()
	for range 3 {
		s.upgrade(t)
	}
	close(drawing.stop)
	<-drawing.done
	if drawing.err != nil || len(drawing.seen) == 0 || drawing.twice > 0 {
		t.Errorf("%d tickets, %d of them twice; %v", len(drawing.seen), drawing.twice, drawing.err)
	}
	s.await(t, `INFO drain finished .*generation=3 `) // until then it may still accept clients
	if last, err := s.draw(); err != nil || last <= 3*reserve || drawing.seen[last] {
		t.Errorf("after three upgrades the ticket is %d, %v: the count began anew", last, err)
	}
}

// service is the program with all its generations.
type service struct {
	addr string
	log  *logFile
	pids []int
}

func start(t *testing.T) *service {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tickets")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the program inherits it: nobody else can get hold of the port
	if err != nil {
		t.Fatal(err)
	}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: ln.Addr().String(), log: &logFile{ended: make(chan struct{})}}
	cmd := exec.Command(path, s.addr)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = file.Close(), ln.Close()
	s.pids = append(s.pids, cmd.Process.Pid)
	go s.log.follow(out) // ends with the last process
	t.Cleanup(func() { s.end(t, cmd) })
	s.awaitReady(t, 1)
	return s
}

// end ends the service, and sees to it that all generations are gone.
func (s *service) end(t *testing.T, first *exec.Cmd) {
	_ = syscall.Kill(s.pids[len(s.pids)-1], syscall.SIGTERM)
	select {
	case <-s.log.ended:
	case <-time.After(patience):
		for _, pid := range s.pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		t.Error("the service did not end")
	}
	_ = first.Wait()
	if t.Failed() {
		t.Log(s.log)
	}
}

// upgrade has the serving process replaced.
func (s *service) upgrade(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(s.pids[len(s.pids)-1], syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.pids = append(s.pids, s.awaitReady(t, len(s.pids)+1))
}

// awaitReady waits until a generation serves, and gives its process.
func (s *service) awaitReady(t *testing.T, generation int) int {
	t.Helper()
	found := s.await(t, fmt.Sprintf(` INFO ready .*generation=%d pid=(\d+) `, generation))
	pid, _ := strconv.Atoi(found[1]) // digits
	return pid
}

// await waits for a line in the log.
func (s *service) await(t *testing.T, pattern string) []string {
	t.Helper()
	line := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if found := line.FindStringSubmatch(s.log.String()); found != nil {
			return found
		}
	}
	t.Fatalf("no %s in the log", pattern)
	return nil
}

// draw draws a ticket.
func (s *service) draw() (uint64, error) {
	c, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	line, err := io.ReadAll(c)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(line)), 10, 64)
}

// draws are the tickets of a client that draws one after the other.
type draws struct {
	stop, done chan struct{}
	seen       map[uint64]bool
	twice      int
	err        error
}

func (s *service) startDrawing() *draws {
	d := &draws{stop: make(chan struct{}), done: make(chan struct{}), seen: map[uint64]bool{}}
	go func() { // ends when stop is closed, or at the first error
		defer close(d.done)
		for d.err == nil {
			select {
			case <-d.stop:
				return
			case <-time.After(time.Millisecond): // load, and no flood
			}
			var ticket uint64
			if ticket, d.err = s.draw(); d.seen[ticket] {
				d.twice++
			}
			d.seen[ticket] = true
		}
	}()
	return d
}

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

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
