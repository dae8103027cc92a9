//go:build linux

package gracehttp

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/httpload"
)

// patience is how long a test waits for something that will happen. It bounds a failure, and not a success.
const patience = 30 * time.Second

// service is the program with all its generations.
type service struct {
	t     *testing.T
	plain string // addresses
	tls   string
	unix  string
	trust *tls.Config   // for clients
	ended chan struct{} // closed when no generation is left
	exit  chan error    // of the first generation

	mu   sync.Mutex
	all  []said
	more chan struct{} // closed and replaced when there is more
}

func start(t *testing.T, c config) *service {
	t.Helper()
	s := &service{t: t, ended: make(chan struct{}), exit: make(chan error, 1), more: make(chan struct{})}
	dir, err := os.MkdirTemp("", "http") // the path of a unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // it is temporary
	c.Unix = filepath.Join(dir, "socket")
	c.File = filepath.Join(dir, "file")
	c.Cert, c.Key, s.trust, err = httpload.Certificate(dir)
	if err := errors.Join(err, httpload.WriteFile(c.File)); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = os.Args[0]
	// The race detector would have every generation sleep for a second before it exits.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", envConfig+"="+string(text))
	cmd.Stdout, cmd.Stderr = in, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	go s.read(out)                       // ends with the last generation
	go func() { s.exit <- cmd.Wait() }() // ends with the first
	t.Cleanup(s.end)
	s.unix = c.Unix
	s.plain = s.await("plain address", func(l said) bool { return l.Name == "plain" }).Addr
	s.tls = s.await("TLS address", func(l said) bool { return l.Name == "tls" }).Addr
	s.awaitReady(1)
	return s
}

func (s *service) read(out io.ReadCloser) {
	defer close(s.ended)
	defer out.Close()
	for in := bufio.NewScanner(out); in.Scan(); {
		var l said
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			l = said{What: "garbage", Err: in.Text()}
		}
		s.mu.Lock()
		s.all = append(s.all, l)
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

// await waits until a line is there.
func (s *service) await(what string, is func(said) bool) said {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		all, more := s.all, s.more
		s.mu.Unlock()
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i]
		}
		select {
		case <-more:
		case <-timeout.C:
			s.t.Fatalf("no %s in\n%+v", what, all)
		}
	}
}

// find looks for a line.
func (s *service) find(is func(said) bool) (said, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, is)
	if i < 0 {
		return said{}, false
	}
	return s.all[i], true
}

func (s *service) awaitReady(generation int) int {
	s.t.Helper()
	return s.await("ready process", func(l said) bool { return l.What == "ReadyFinished" && l.Generation == generation && l.Err == "" }).PID
}

func (s *service) awaitReport(generation int) said {
	s.t.Helper()
	return s.await("report", isReport(generation))
}

func (s *service) awaitDraining(generation int) {
	s.t.Helper()
	s.await("drain", func(l said) bool { return l.What == "draining" && l.Generation == generation })
}

// awaitPassed waits for a report that so many connections were handed over, and that none was closed or cut.
func (s *service) awaitPassed(generation, connections int) {
	s.t.Helper()
	if r := s.awaitReport(generation); r.Passed != connections || r.Closed+r.Cut > 0 {
		s.t.Errorf("process %d: %+v", generation, r)
	}
}

func isReport(generation int) func(said) bool {
	return func(l said) bool { return l.What == "Reported" && l.Generation == generation }
}

func (s *service) awaitLeft(generation int) said {
	s.t.Helper()
	return s.await("end of a process", func(l said) bool { return l.What == "left" && l.Generation == generation })
}

// generation gives the number and the process of the one that serves.
func (s *service) generation() (n, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.all {
		if l.What == "ReadyFinished" && l.Err == "" && l.Generation > n {
			n, pid = l.Generation, l.PID
		}
	}
	return n, pid
}

// doors are the ways to connect to it.
func (s *service) doors() map[string]func() *connection {
	return map[string]func() *connection{
		"plain": s.connect,
		"unix":  func() *connection { return dial(s.t, "unix", s.unix) },
		"tls": func() *connection {
			c := dial(s.t, "tcp", s.tls)
			trust := s.trust.Clone()
			trust.ServerName = "127.0.0.1"
			c.Conn = tls.Client(c.Conn, trust) // shakes hands with the first byte
			c.reader.Reset(c.Conn)
			return c
		},
	}
}

func (s *service) connect() *connection { return dial(s.t, "tcp", s.plain) }

func (s *service) signal(sig syscall.Signal) int {
	s.t.Helper()
	n, pid := s.generation()
	if err := syscall.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *service) upgrade() {
	s.t.Helper()
	n := s.signal(syscall.SIGHUP)
	s.awaitReady(n + 1)
	s.await("end of the upgrade", func(l said) bool { return l.What == "UpgradeFinished" && l.Generation == n })
}

// stop ends the service, and waits for all generations.
func (s *service) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatal("the service does not end")
	}
}

// end kills what is left after a failure.
func (s *service) end() {
	select {
	case <-s.ended:
	default:
		s.mu.Lock()
		pids := map[int]bool{}
		for _, l := range s.all {
			pids[l.PID] = true
		}
		for _, l := range s.all {
			if l.What == "left" {
				delete(pids, l.PID)
			}
		}
		s.mu.Unlock()
		for pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-s.ended
	}
	<-s.exit
}
