//go:build linux

package servicetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// All generations are followed, whether the lines are JSON or a log, until none is left.
func TestGenerationsAreFollowed(t *testing.T) {
	t.Run("JSON", func(t *testing.T) {
		s := StartJSON[said](t, Command(config{}))
		follow(t, s)
		if left := s.Await("end", func(l said) bool { return l.What == "left" }); left.Detail != "bye" || left.Generation != 3 {
			t.Errorf("the last line is %+v", left)
		}
		if lines := s.Lines(); len(lines) != 7 { // two of each generation, and the last one
			t.Errorf("there are the lines %+v", lines)
		}
	})
	t.Run("log", func(t *testing.T) {
		s := StartLog(t, Command(config{Log: true}))
		follow(t, s)
		if log := s.Log(); strings.Count(log, " not ready ") != 3 || !strings.Contains(log, " left generation=3 ") {
			t.Errorf("the log is\n%s", log)
		}
	})
}

func follow[L any](t *testing.T, s *Service[L]) {
	t.Helper()
	pids := []int{s.AwaitReady(1), s.Upgrade(), s.Upgrade()}
	if got := s.PIDs(); !slices.Equal(got, pids) || pids[0] != s.first.Process.Pid {
		t.Errorf("the processes were %v, and are told to have been %v", pids, got)
	}
	if n, pid := s.Newest(); n != 3 || pid != pids[2] {
		t.Errorf("generation %d in process %d", n, pid)
	}
	if n := s.Signal(unix.SIGTERM); n != 3 {
		t.Errorf("generation %d has got a signal", n)
	}
	if err := s.AwaitEnd(); err != nil {
		t.Errorf("the first process ended with %v", err)
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[1]))
	if !strings.Contains(string(status), fmt.Sprintf("PPid:\t%d\n", os.Getpid())) {
		t.Error("an orphan is no child of the test's, so that its number may be used again while that can still signal it")
	}
	s.AwaitExit(pids[1])
	if unix.Kill(pids[1], 0) == nil {
		t.Error("a process is there after its end")
	}
}

func TestWhoHasPrintedALine(t *testing.T) {
	for line, want := range map[string]origin{
		`{"PID": 5, "Generation": 2, "What": "ReadyFinished"}`:              {5, 2, true},
		`{"PID": 5, "Generation": 2, "What": "ReadyFinished", "Err": "no"}`: {5, 2, false},
		`{"PID": 5, "Generation": 2, "What": "ReadyStarted"}`:               {5, 2, false},
	} {
		if _, got, err := parseJSON[said](line); got != want || err != nil {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for line, want := range map[string]origin{
		`2026/01/01 00:00:00 INFO ready duration=1ms generation=2 pid=5 role=serving handoff=A`:                        {5, 2, true},
		`2026/01/01 00:00:00 ERROR not ready duration=1ms error=no generation=2 pid=5 role=successor handoff=A`:        {5, 2, false},
		`2026/01/01 00:00:00 INFO parent exited parent=4 parent_generation=1 generation=2 pid=5 role=serving handoff=`: {5, 2, false},
		`panic: no`: {},
	} {
		if text, got, err := parseLog(line); text != line || got != want || err != nil {
			t.Errorf("%s: %q, %+v, %v", line, text, got, err)
		}
	}
}

// No process outlives its test: neither one that the others start at their end, nor one of which the number is known only then.
func TestProcessesThatAreHeardOfLate(t *testing.T) {
	r := record(t, func(r *recorder) {
		s := StartJSON[said](r, Command(config{Heir: true}))
		s.AwaitReady(1)
	})
	if r.failed {
		t.Error(r.said)
	}
}

// What does not end when it is told to is killed, and the test fails.
func TestStubbornServiceIsKilled(t *testing.T) {
	var pid int
	r := record(t, func(r *recorder) {
		s := StartJSON[said](r, Command(config{Stubborn: true}))
		pid = s.AwaitReady(1)
		s.patience = 2 * time.Second // for the signal that it ignores
	})
	if want := fmt.Sprintf("of processes [%d] not all have ended", pid); !r.failed || !strings.Contains(r.said, want) {
		t.Errorf("the test says %q", r.said)
	}
	if unix.Kill(pid, 0) == nil {
		t.Error("the process has outlived its test")
	}
}

// What never comes is waited for no longer than the service lives. The test shows what it has printed.
func TestWaitInVain(t *testing.T) {
	for want, wait := range map[string]func(*Service[said]){
		fmt.Sprintf("process %d does not end", os.Getpid()): func(s *Service[said]) {
			s.patience = 0
			defer func() { s.patience = Patience }()
			s.AwaitExit(os.Getpid())
		},
		"waited in vain for nothing":         func(s *Service[said]) { s.Await("nothing", func(said) bool { return false }) },
		"generation 2 does not become ready": func(s *Service[said]) { s.AwaitReady(2) },
	} {
		r := record(t, func(r *recorder) {
			s := StartJSON[said](r, Command(config{}))
			s.AwaitReady(1)
			s.Signal(unix.SIGTERM)
			wait(s)
			t.Error("the test goes on")
		})
		if !r.failed || !strings.HasPrefix(r.said, want+"\n") || !strings.Contains(r.said, `"What":"left"`) {
			t.Errorf("the test says %q", r.said)
		}
	}
}

// An end is clean if the first process has had no error, and the log has no complaint.
func TestEndThatIsNotClean(t *testing.T) {
	for want, c := range map[string]config{
		"the first process ended with exit status 1": {Fails: true},
		" ERROR not ready generation=1 ":             {Log: true},
	} {
		r := record(t, func(r *recorder) {
			s := StartLog(r, Command(c))
			if !c.Fails {
				s.AwaitReady(1)
				s.Signal(unix.SIGTERM)
			}
			s.AwaitCleanEnd()
		})
		if complaints, _, _ := strings.Cut(r.said, "the service has printed"); !r.failed || !strings.Contains(complaints, want) {
			t.Errorf("the test says %q", r.said)
		}
	}
}

// A data race in any generation fails the test.
func TestDataRace(t *testing.T) {
	for _, upgrades := range []int{0, 1} {
		pid := 0
		r := record(t, func(r *recorder) {
			s := StartJSON[said](r, Command(config{Races: true}))
			pid = s.AwaitReady(1)
			for range upgrades {
				pid = s.Upgrade()
			}
		})
		if want := fmt.Sprintf("process %d has data races\n", pid); !r.failed || !strings.HasPrefix(r.said, want) {
			t.Errorf("the test says %q, and not %q", r.said, want)
		}
	}
}

// A program inherits a socket as from systemd, and knows its address. Nobody has it longer than the program.
func TestListen(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `echo "$1 $LISTEN_FDS $(readlink /proc/$$/fd/3)" >&2; read line`, "sh")
	cmd.Env = os.Environ()
	stdin, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = stdin
	addr := Listen(t, cmd)
	s := StartLog(t, cmd)
	stdin.Close()
	s.Await("line about the socket", func(line string) bool { return strings.HasPrefix(line, addr+" 1 socket:[") })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	w.Close() // the program ends
	_ = s.AwaitEnd()
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("there is still a socket")
	}
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	cleanup []func()
	failed  bool
	said    string
}

// record runs a test, and what it has put off until its end.
func record(t *testing.T, test func(*recorder)) *recorder {
	r := &recorder{TB: t}
	ended := make(chan struct{})
	go func() { // ends with the test
		defer close(ended)
		test(r)
	}()
	<-ended
	for _, f := range r.cleanup {
		f()
	}
	return r
}

func (r *recorder) Cleanup(f func())               { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Failed() bool                   { return r.failed }
func (r *recorder) Logf(format string, a ...any)   { r.said += fmt.Sprintf(format+"\n", a...) }
func (r *recorder) Errorf(format string, a ...any) { r.Logf(format, a...); r.failed = true }
func (r *recorder) Error(a ...any)                 { r.Errorf("%s", fmt.Sprint(a...)) }
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...); runtime.Goexit() }
