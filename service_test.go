//go:build linux

package grace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience is how long a test waits for something that will happen.
const patience = servicetest.Patience

// service is a program of mains with all its generations, as a test sees it.
type service struct {
	*servicetest.Service[printed]
	t      testing.TB
	config config
}

// start starts the first generation, and waits until it is ready. At the end of the test all generations are ended.
func start(t testing.TB, name string, c config) *service {
	t.Helper()
	s := launch(t, name, c)
	s.AwaitReady(1)
	return s
}

func launch(t testing.TB, name string, c config) *service {
	t.Helper()
	if c.ModeFile == "" {
		c.ModeFile = filepath.Join(t.TempDir(), "mode")
	}
	cmd := command(name, c)
	if c.Start != "" {
		cmd.Path, cmd.Args[0] = c.Start, c.Start
	}
	if c.Via != "" {
		cmd.Path, cmd.Args = c.Via, append([]string{c.Via}, cmd.Args...)
	}
	cmd.Dir = c.Dir
	cmd.Env = append(cmd.Env, c.Env...)
	if c.As != 0 {
		id := uint32(c.As)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	}
	if c.Stderr != "" {
		file, err := os.OpenFile(c.Stderr, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd.Stderr = file
	}
	return &service{servicetest.StartJSON[printed](t, cmd), t, c}
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// count counts events.
func (s *service) count(meant func(printed) bool) (n int) {
	for _, p := range s.Lines() {
		if meant(p) {
			n++
		}
	}
	return n
}

// addr is the nth address that the service has opened.
func (s *service) addr(n int) string {
	s.t.Helper()
	for _, p := range s.Lines() {
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
			s.t.Fatalf("who: %v", err)
		}
		if !strings.HasSuffix(answer, " close") && strings.HasPrefix(answer, fmt.Sprintf("who %d ", s.newest())) {
			return c
		}
		c.Close()
	}
}

// dialAny opens a connection to whoever accepts it.
func (s *service) dialAny() *client { return s.dialTo(0) }

// dialTo opens a connection to the nth endpoint.
func (s *service) dialTo(n int) *client {
	s.t.Helper()
	conn, err := net.Dial(s.network(n), s.addr(n))
	if err != nil {
		s.t.Fatalf("dial: %v", err)
	}
	return newClient(conn)
}

// newest is the last generation that has become ready.
func (s *service) newest() int {
	n, _ := s.Newest()
	return n
}

// ask sends a command to whoever serves now.
func (s *service) ask(command string) string {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	answer, err := c.ask(command)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return strings.TrimSuffix(answer, " close") // it drains, having upgraded
}

// upgrading begins an upgrade over a connection of its own, and returns the answer when it comes.
func (s *service) upgrading() <-chan string {
	answer := make(chan string, 1)
	c := s.dial()
	go func() {
		defer c.Close()
		got, err := c.ask("upgrade")
		if err != nil {
			got = err.Error()
		}
		answer <- strings.TrimSuffix(got, " close")
	}()
	return answer
}

// cancelledAfter begins an upgrade, cancels it after an event of it, and returns what it came to.
func (s *service) cancelledAfter(event string) string {
	s.t.Helper()
	before := s.count(finished(event, 0))
	answer := s.upgrading()
	awaitThat(s.t, event, func() bool { return s.count(finished(event, 0)) > before })
	s.expect("cancel", "cancelled")
	return <-answer
}

// serving returns the generation and the pid that answer now.
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
		s.t.Fatalf("upgrade: %s", got)
	}
	s.AwaitReady(next)
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
