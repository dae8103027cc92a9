//go:build unix

package grace_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// This file works behind the scenes of the examples: it starts their programs as processes and
// talks to them. The test binary is the program too, so the race detector watches all generations.

// program is the main function of an example's service, which listens on addr.
type program func(addr string) error

// programs are the programs that this binary can be.
var programs = []program{
	greet, serveUpgrades, keepJournal, runWorker, serveFromCache, serveOnProbation,
}

// add adds a program that runs on one system only. Package variables call it, before any init runs.
func add(p program) bool {
	programs = append(programs, p)
	return true
}

// name returns the name of the program's function.
func (p program) name() string {
	return runtime.FuncForPC(reflect.ValueOf(p).Pointer()).Name()
}

const (
	envProgram = "GRACE_EXAMPLE"  // names the program that this process is
	brokenFile = "broken-release" // exists while new processes fail at once
	patience   = 30 * time.Second // for one step of a service, on a busy machine
)

// init runs the program in a process of a service. It is not a part of TestMain, which exists on
// Linux only.
func init() {
	name := os.Getenv(envProgram)
	if name == "" {
		return
	}
	if _, err := os.Stat(brokenFile); err == nil {
		os.Exit(1)
	}
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
	slog.SetDefault(slog.New(handler))
	for _, p := range programs {
		if p.name() == name {
			exit(p(os.Args[1]))
		}
	}
	log.Fatalf("there is no program %s", name)
}

func exit(err error) {
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

// service is a running program with all its generations. They write one log: at its end, none is
// left.
type service struct {
	cmd        *exec.Cmd
	logFile    *os.File
	log        *bufio.Scanner
	lines      []string // of the log, as far as it was read
	addr       string
	generation int // that serves
	clients    []*client
}

// start starts a program in a directory of its own, and returns when it serves.
func start(p program, files ...file) *service {
	self, err := os.Executable()
	check(err)
	dir, err := os.MkdirTemp("", "example")
	check(err)
	r, w, err := os.Pipe()
	check(err)
	cmd := exec.Command(self, "127.0.0.1:0")
	cmd.Dir, cmd.Stderr = dir, w
	cmd.Env = append(os.Environ(), envProgram+"="+p.name(),
		"GORACE=atexit_sleep_ms=0") // otherwise every generation sleeps a second before it exits
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group of all generations, to kill them
	s := &service{cmd: cmd, logFile: r, log: bufio.NewScanner(r), generation: 1}
	for _, f := range files {
		s.install(f)
	}
	check(cmd.Start())
	check(w.Close())
	s.addr = s.await(0, `msg="socket opened" socket=(\S+)`)
	s.pid()
	return s
}

// check panics if err is not nil. Nothing that it checks fails on a working machine.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// await returns the first group of the first line that matches, from line n on.
func (s *service) await(n int, pattern string) string {
	re := regexp.MustCompile(pattern)
	check(s.logFile.SetReadDeadline(time.Now().Add(patience)))
	for ; ; n++ {
		if n == len(s.lines) && !s.read() {
			_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // unless all have ended
			panic(fmt.Sprintf("no line %s in\n%s", pattern, strings.Join(s.lines, "\n")))
		}
		if found := re.FindStringSubmatch(s.lines[n]); found != nil {
			return found[len(found)-1]
		}
	}
}

// read reads a line of the log.
func (s *service) read() bool {
	ok := s.log.Scan()
	if ok {
		s.lines = append(s.lines, s.log.Text())
	}
	return ok
}

// pid waits until the process that is to serve does, and returns its number.
func (s *service) pid() (pid int) {
	line := s.await(0, fmt.Sprintf(`msg=ready .*generation=%d pid=(\d+)`, s.generation))
	_, err := fmt.Sscan(line, &pid)
	check(err)
	return pid
}

// upgrade sends SIGHUP, as "kill -HUP" does, and returns "upgrade finished" or "upgrade failed".
func (s *service) upgrade() (outcome string) {
	before := len(s.lines)
	check(syscall.Kill(s.pid(), syscall.SIGHUP))
	outcome = s.await(before,
		fmt.Sprintf(`msg="(upgrade finished|upgrade failed)" .*generation=%d `, s.generation))
	if outcome == "upgrade finished" {
		s.follow()
	}
	return outcome
}

// follow waits until the next generation serves alone.
func (s *service) follow() {
	s.await(0, fmt.Sprintf(`msg="drain started" .*generation=%d `, s.generation))
	s.generation++
	s.pid()
}

// awaitHook waits until the process that serves has run a function of a hook.
func (s *service) awaitHook(name string) {
	s.await(0, fmt.Sprintf(`msg="hook finished" .*hook=%s .*generation=%d `, name, s.generation))
}

// awaitParentExit waits until the previous process is gone.
func (s *service) awaitParentExit() {
	s.await(0, fmt.Sprintf(`msg="parent exited".* generation=%d `, s.generation))
}

// file is a file in the directory of a service.
type file struct{ name, content string }

func (s *service) install(f file) {
	check(os.WriteFile(filepath.Join(s.cmd.Dir, f.name), []byte(f.content), 0o600))
}

func (s *service) remove(name string) { check(os.Remove(filepath.Join(s.cmd.Dir, name))) }

// deployBroken installs a release that does not come up; deployWorking installs one that does.
func (s *service) deployBroken()  { s.install(file{name: brokenFile}) }
func (s *service) deployWorking() { s.remove(brokenFile) }

// stop sends SIGTERM, and waits until no process is left. It prints what has gone wrong.
func (s *service) stop() {
	for _, c := range s.clients {
		_ = c.Close() // it may be closed
	}
	_ = syscall.Kill(s.pid(), syscall.SIGTERM)
	check(s.logFile.SetReadDeadline(time.Now().Add(patience)))
	for s.read() {
	}
	for _, line := range s.lines {
		if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") {
			fmt.Println(strings.Join(s.lines, "\n"))
		}
	}
	if err := cmp.Or(s.log.Err(), s.cmd.Wait()); err != nil {
		fmt.Println(err)
	}
	check(s.logFile.Close())
	check(os.RemoveAll(s.cmd.Dir))
}

// client is a connection to a service that answers lines.
type client struct {
	net.Conn
	in *bufio.Reader
}

func (s *service) dial() *client {
	c, err := net.DialTimeout("tcp", s.addr, patience)
	check(err)
	check(c.SetDeadline(time.Now().Add(2 * patience)))
	s.clients = append(s.clients, &client{c, bufio.NewReader(c)})
	return s.clients[len(s.clients)-1]
}

// send sends text as it is. If it gets lost, the next answer shows that.
func (c *client) send(text string) { _, _ = io.WriteString(c, text) }

// ask sends a line, and returns the answer or the error that came instead.
func (c *client) ask(line string) string {
	c.send(line + "\n")
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(answer, "\n")
}

// ask asks on a connection of its own.
func (s *service) ask(line string) string {
	c := s.dial()
	defer c.Close()
	return c.ask(line)
}

func (s *service) get(path string) string { return s.request(http.MethodGet, path) }

func (s *service) post(path string) string { return s.request(http.MethodPost, path) }

// request sends a request on a connection of its own, and returns the answer in one line.
func (s *service) request(method, path string) string {
	req, err := http.NewRequest(method, "http://"+s.addr+path, nil)
	check(err)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := c.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	check(err)
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body)))
}
