//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// service is the program with all its generations.
type service struct {
	t          *testing.T
	plain, tls string        // addresses
	cert       certificate   // of the latter
	generation int           // the one that serves
	pid        int           // its process
	ended      chan struct{} // closed when no generation is left

	mu   sync.Mutex
	all  []said
	more chan struct{} // closed and replaced when there is more
}

// inEachMode runs a test in each way in which gracehttp drains.
func inEachMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range slices.Sorted(maps.Keys(modes)) {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

func start(t *testing.T, c config) *service {
	t.Helper()
	s := &service{t: t, cert: newCertificate(t), ended: make(chan struct{}), more: make(chan struct{})}
	c.Cert, c.Key = s.cert.file, s.cert.key
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
	err = cmd.Start()
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	go s.read(out) // ends with the last generation
	go cmd.Wait()  //nolint:errcheck // ends with the first, which tells of its errors
	t.Cleanup(s.end)
	s.plain = s.await("plain address", func(l said) bool { return l.Name == "plain" }).Addr
	s.tls = s.await("TLS address", func(l said) bool { return l.Name == "tls" }).Addr
	s.awaitReady()
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

func (s *service) lines() (all []said, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, s.more
}

// await waits until a line is there.
func (s *service) await(what string, is func(said) bool) said {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		all, more := s.lines()
		for _, l := range all {
			if is(l) {
				return l
			}
		}
		select {
		case <-more:
		case <-timeout:
			s.t.Fatalf("no %s in\n%+v", what, all)
		}
	}
}

// awaitOf waits until a generation has said something.
func (s *service) awaitOf(generation int, what string) said {
	s.t.Helper()
	l := s.await(what, func(l said) bool { return l.What == what && l.Generation == generation })
	if l.Err != "" {
		s.t.Fatalf("%+v", l)
	}
	return l
}

func (s *service) awaitReady() {
	s.t.Helper()
	s.pid = s.awaitOf(s.generation+1, "ReadyFinished").PID
	s.generation++
}

// upgradeTenTimes upgrades whenever the generation that serves has answered its share of the requests. At the end there are eleven
// which have.
func (s *service) upgradeTenTimes() {
	s.t.Helper()
	for range upgrades {
		s.awaitOf(s.generation, "busy")
		s.signal(syscall.SIGHUP)
		s.awaitOf(s.generation, "UpgradeFinished")
		s.awaitReady()
	}
	s.awaitOf(s.generation, "busy")
}

func (s *service) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.t.Fatal(err)
	}
}

// totals are those of all generations.
type totals struct {
	requests int64
	conns    int64 // one that is passed counts in both processes
	passed   int64 // to successors
}

// stop ends the service, whose clients are gone.
func (s *service) stop() (sum totals) {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatal("the service does not end")
	}
	for n := 1; n <= s.generation; n++ {
		left := s.awaitOf(n, "left")
		sum.requests += left.Requests
		sum.conns += left.Conns
	}
	all, _ := s.lines()
	for _, l := range all {
		sum.passed += l.Passed
	}
	s.t.Logf("the service had %+v", sum)
	return sum
}

// check fails a test whose clients have not kept their connections from one request to the next, or from one process to the next
// where that is the mode. (In each mode, successors take over some that have had no request yet.)
func (sum totals) check(t *testing.T, mode string) {
	t.Helper()
	if sum.conns > sum.requests/2 {
		t.Error("connections are not kept")
	}
	if mode == handover && sum.passed < upgrades {
		t.Error("connections are not handed over")
	}
}

// end kills what is left after a failure, until there is nothing: a process whose predecessor was killed may only then speak.
func (s *service) end() {
	for ; ; time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.ended:
			return
		default:
		}
		all, _ := s.lines()
		pids := map[int]bool{}
		for _, l := range all {
			pids[l.PID] = l.What != "left"
		}
		for pid, alive := range pids {
			if alive {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
	}
}
