//go:build unix

// Package exampletest starts the programs of examples as processes, upgrades them and talks to
// them. The test binary is the program too, so the race detector watches all generations. Examples
// have no *testing.T: whatever goes wrong shows in their output, or is a panic.
package exampletest

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log"
	"log/slog"
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

// Program is the main function of an example's service, which listens on addr.
type Program func(addr string) error

// name returns the name of the program's function.
func (p Program) name() string {
	return runtime.FuncForPC(reflect.ValueOf(p).Pointer()).Name()
}

const (
	envProgram = "GRACE_EXAMPLE"  // names the program that this process is
	brokenFile = "broken-release" // exists while new processes fail at once
	patience   = 30 * time.Second // for one step of a service, on a busy machine
)

// Main runs one of the programs, and does not return, in a process of a service. The init function
// of an example's package calls it: not every system has a TestMain.
func Main(programs ...Program) {
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

// Service is a running program with all its generations. They write one log: at its end, none is
// left.
type Service struct {
	cmd        *exec.Cmd
	logFile    *os.File
	log        *bufio.Scanner
	lines      []string // of the log, as far as it was read
	addr       string
	generation int // that serves
	clients    []io.Closer
}

// Start starts a program in a directory of its own, and returns when it serves.
func Start(p Program, files ...File) *Service {
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
	s := &Service{cmd: cmd, logFile: r, log: bufio.NewScanner(r), generation: 1}
	for _, f := range files {
		s.Install(f)
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
func (s *Service) await(n int, pattern string) string {
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
func (s *Service) read() bool {
	ok := s.log.Scan()
	if ok {
		s.lines = append(s.lines, s.log.Text())
	}
	return ok
}

// pid waits until the process that is to serve does, and returns its number.
func (s *Service) pid() (pid int) {
	line := s.await(0, fmt.Sprintf(`msg=ready .*generation=%d pid=(\d+)`, s.generation))
	_, err := fmt.Sscan(line, &pid)
	check(err)
	return pid
}

// Upgrade sends SIGHUP, as "kill -HUP" does, and returns "upgrade finished" or "upgrade failed".
func (s *Service) Upgrade() (outcome string) {
	before := len(s.lines)
	check(syscall.Kill(s.pid(), syscall.SIGHUP))
	outcome = s.await(before,
		fmt.Sprintf(`msg="(upgrade finished|upgrade failed)" .*generation=%d `, s.generation))
	if outcome == "upgrade finished" {
		s.Follow()
	}
	return outcome
}

// Follow waits until the next generation serves alone.
func (s *Service) Follow() {
	s.await(0, fmt.Sprintf(`msg="drain started" .*generation=%d `, s.generation))
	s.generation++
	s.pid()
}

// AwaitHook waits until the process that serves has run a function of a hook.
func (s *Service) AwaitHook(name string) {
	s.await(0, fmt.Sprintf(`msg="hook finished" .*hook=%s .*generation=%d `, name, s.generation))
}

// AwaitParentExit waits until the previous process is gone.
func (s *Service) AwaitParentExit() {
	s.await(0, fmt.Sprintf(`msg="parent exited".* generation=%d `, s.generation))
}

// File is a file in the directory of a service.
type File struct{ Name, Content string }

// Install writes a file.
func (s *Service) Install(f File) {
	check(os.WriteFile(filepath.Join(s.cmd.Dir, f.Name), []byte(f.Content), 0o600))
}

// Remove removes a file.
func (s *Service) Remove(name string) { check(os.Remove(filepath.Join(s.cmd.Dir, name))) }

// DeployBroken installs a release that does not come up.
func (s *Service) DeployBroken() { s.Install(File{Name: brokenFile}) }

// DeployWorking installs a release that comes up.
func (s *Service) DeployWorking() { s.Remove(brokenFile) }

// Stop sends SIGTERM, and waits until no process is left. It prints what has gone wrong.
func (s *Service) Stop() {
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
