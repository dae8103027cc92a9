//go:build linux

package grace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for something that will happen. It bounds a failure, and not a success.
const patience = 20 * time.Second

// service is a program of mains with all its generations, as a test sees it.
type service struct {
	t      testing.TB
	config config
	mu     sync.Mutex
	events []printed
	more   chan struct{} // closed and replaced when there is another event
	ended  chan struct{} // closed when no generation holds the standard output any more
}

// start starts the first generation, and waits until it is ready. At the end of the test all generations are ended.
func start(t testing.TB, name string, c config) *service {
	t.Helper()
	s := launch(t, name, c)
	s.await("the first generation", func(p printed) bool { return p.Event == "ReadyFinished" && p.Err == "" })
	return s
}

func launch(t testing.TB, name string, c config) *service {
	t.Helper()
	usedMains.Store(name, true)
	if c.ModeFile == "" {
		c.ModeFile = filepath.Join(t.TempDir(), "mode")
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", c.Args...)
	cmd.Args[0] = os.Args[0]
	if c.Start != "" {
		cmd = exec.Command(c.Start, c.Args...)
	}
	cmd.Dir = c.Dir
	// The race detector would have every generation sleep for a second before it exits.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", envMain+"="+name, envConfig+"="+toJSON(c))
	cmd.Stdout, cmd.Stderr = in, os.Stderr
	if c.Stderr != "" {
		file, err := os.OpenFile(c.Stderr, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd.Stderr = file
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	s := &service{t: t, config: c, more: make(chan struct{}), ended: make(chan struct{})}
	go s.read(out) // ends with the last generation
	go func() { _ = cmd.Wait() }()
	t.Cleanup(func() { s.end(cmd.Process.Pid) })
	return s
}

func (s *service) read(out io.ReadCloser) {
	defer close(s.ended)
	defer out.Close()
	for in := bufio.NewScanner(out); in.Scan(); {
		var p printed
		if err := json.Unmarshal(in.Bytes(), &p); err != nil {
			p.Event, p.Err = "garbage", in.Text()
		}
		s.mu.Lock()
		s.events = append(s.events, p)
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

// end ends every process of the service: politely, and then not.
func (s *service) end(first int) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if s.signalAll(first, sig) {
			s.reap()
			return
		}
		s.t.Errorf("%v did not end %v after %v; events:\n%s", s.pids(), patience, sig, s.log())
	}
}

// signalAll sends a signal to every process once, also to those of which the events tell late, and reports whether all have ended.
func (s *service) signalAll(first int, sig unix.Signal) bool {
	timeout := time.After(patience)
	signalled := make(map[int]bool)
	for {
		s.mu.Lock()
		more := s.more
		s.mu.Unlock()
		for _, pid := range append(s.pids(), first) {
			if !signalled[pid] {
				signalled[pid] = true
				_ = unix.Kill(pid, sig) // they are our children or theirs, and not waited for before they show up here
			}
		}
		select {
		case <-more:
		case <-s.ended:
			return true
		case <-timeout:
			return false
		}
	}
}

// reap waits for the orphans that have become our children.
func (s *service) reap() {
	deadline := time.Now().Add(patience)
	for _, pid := range s.pids() {
		for alive(pid) && time.Now().Before(deadline) {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			time.Sleep(time.Millisecond)
		}
		if alive(pid) {
			s.t.Errorf("process %d is left over", pid)
		}
	}
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// pids of all generations that have spoken, those that are gone included.
func (s *service) pids() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pids []int
	for _, p := range s.events {
		if p.PID > 1 && !slices.Contains(pids, p.PID) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

func (s *service) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, p := range s.events {
		fmt.Fprintf(&b, "%+v\n", p)
	}
	return b.String()
}

// await waits for an event, and returns the first one that is meant.
func (s *service) await(what string, meant func(printed) bool) printed {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		i, more := slices.IndexFunc(s.events, meant), s.more
		if i >= 0 {
			defer s.mu.Unlock()
			return s.events[i]
		}
		s.mu.Unlock()
		select {
		case <-more:
		case <-timeout:
			s.t.Fatalf("waited in vain for %s; events:\n%s", what, s.log())
		}
	}
}

// count counts events.
func (s *service) count(meant func(printed) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.events {
		if meant(p) {
			n++
		}
	}
	return n
}

// addr is the nth address that the service has opened.
func (s *service) addr(n int) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.events {
		if p.Event != "SocketOpened" {
			continue
		}
		if n--; n < 0 {
			a, _, _ := strings.Cut(strings.TrimPrefix(p.Detail, "socket="), " ")
			return a
		}
	}
	s.t.Fatal("the service has no such socket")
	return ""
}

// network of the nth endpoint of the config.
func (s *service) network(n int) string { return s.config.Listen[n].Network }

// misbehave tells the next generations how to go wrong; "" is not at all.
func (s *service) misbehave(mode string) {
	s.t.Helper()
	if err := os.WriteFile(s.config.ModeFile, []byte(mode), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// dial opens a connection to the generation that serves. One that is about to drain may still accept a connection.
func (s *service) dial() *client {
	s.t.Helper()
	for {
		c := s.dialAny()
		answer, err := c.ask("who")
		if err != nil {
			s.t.Fatalf("who: %v; events:\n%s", err, s.log())
		}
		if !strings.HasSuffix(answer, " close") && strings.HasPrefix(answer, fmt.Sprintf("who %d ", s.newest())) {
			return c
		}
		c.Close()
	}
}

// dialAny opens a connection to whoever accepts it.
func (s *service) dialAny() *client {
	s.t.Helper()
	conn, err := net.Dial(s.network(0), s.addr(0))
	if err != nil {
		s.t.Fatalf("dial: %v; events:\n%s", err, s.log())
	}
	return newClient(conn)
}

// newest is the last generation that has become ready.
func (s *service) newest() (newest int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.events {
		if p.Event == "ReadyFinished" && p.Err == "" {
			newest = max(newest, p.Generation)
		}
	}
	return newest
}

// ask sends a command to whoever serves now.
func (s *service) ask(command string) string {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	answer, err := c.ask(command)
	if err != nil {
		s.t.Fatalf("%s: %v; events:\n%s", command, err, s.log())
	}
	return strings.TrimSuffix(answer, " close") // it drains, having upgraded
}

// serving gives the generation and the pid that answer now.
func (s *service) serving() (generation, pid int) {
	s.t.Helper()
	if _, err := fmt.Sscanf(s.ask("who"), "who %d %d", &generation, &pid); err != nil {
		s.t.Fatal(err)
	}
	return generation, pid
}

// upgrade upgrades, and expects success.
func (s *service) upgrade() {
	s.t.Helper()
	next := s.newest() + 1
	if got := s.ask("upgrade"); got != "upgraded" {
		s.t.Fatalf("upgrade: %s; events:\n%s", got, s.log())
	}
	s.await("the successor to be ready", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == next && p.Err == "" })
}

func (s *service) census() (c census) {
	s.t.Helper()
	decode(s.t, s.ask("census"), &c)
	return c
}

func decode(t testing.TB, answer string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(strings.TrimSuffix(answer, " close")), into); err != nil {
		t.Fatal(err)
	}
}

// awaitExit waits for the end of one generation.
func (s *service) awaitExit(pid int) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); alive(pid); time.Sleep(time.Millisecond) {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if time.Now().After(deadline) {
			s.t.Fatalf("process %d has not ended; events:\n%s", pid, s.log())
		}
	}
}

// client speaks with a line server.
type client struct {
	net.Conn
	in *bufio.Reader
}

func newClient(c net.Conn) *client { return &client{Conn: c, in: bufio.NewReader(c)} }

func (c *client) ask(line string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	answer, err := c.in.ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}

// load is what clients do all the time while something happens to the service: none of them tries anything twice.
type load struct {
	stop     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
	mu       sync.Mutex
	requests int
	failures []string
	servers  map[string]int // requests by generation
}

// startLoad has clients that open a connection for each request, and clients that keep theirs, on every endpoint.
func startLoad(s *service) *load {
	l := &load{stop: make(chan struct{}), servers: map[string]int{}}
	s.t.Cleanup(l.halt)
	for i := range s.config.Listen {
		network, addr := s.network(i), s.addr(i)
		for range 4 {
			l.wg.Go(func() { l.run(network, addr, false) })
			l.wg.Go(func() { l.run(network, addr, true) })
		}
	}
	return l
}

func (l *load) run(network, addr string, keep bool) {
	var c *client
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			if c != nil {
				c.Close()
			}
			return
		case <-time.After(time.Millisecond): // load, and no flood: the machine has other tests to run
		}
		if c == nil {
			conn, err := net.DialTimeout(network, addr, patience)
			if err != nil {
				l.note("", err)
				continue
			}
			c = newClient(conn)
		}
		answer, err := c.ask(fmt.Sprintf("r%d", i))
		if err == nil && !strings.HasPrefix(answer, fmt.Sprintf("r%d ", i)) {
			err = fmt.Errorf("asked r%d and got %q", i, answer)
		}
		l.note(answer, err)
		if err != nil || !keep || strings.HasSuffix(answer, " close") {
			c.Close()
			c = nil
		}
	}
}

func (l *load) note(answer string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failures = append(l.failures, err.Error())
		return
	}
	if words := strings.Fields(answer); len(words) > 1 {
		l.servers[words[1]]++
	}
}

// served counts the requests that a generation has answered.
func (l *load) served(generation int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.servers[fmt.Sprint(generation)]
}

func (l *load) halt() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

// end stops the clients, and fails the test if one of them noticed anything.
func (l *load) end(t testing.TB) {
	t.Helper()
	l.halt()
	if len(l.failures) > 0 || l.requests == 0 {
		t.Errorf("%d of %d requests failed: %v", len(l.failures), l.requests, l.failures[:min(5, len(l.failures))])
	}
}
