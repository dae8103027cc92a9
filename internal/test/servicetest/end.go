//go:build linux

package servicetest

import (
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitEnd waits until no process is left, and tells how the first one has ended.
func (s *Service[L]) AwaitEnd() error {
	s.t.Helper()
	if !s.wait(s.HasEnded) {
		s.t.Fatal("the service does not end")
	}
	<-s.exited
	return s.exit
}

// complaints are what a service logs that does not run well.
var complaints = regexp.MustCompile(`(?m)^.*( WARN | ERROR |DATA RACE|^panic: |^fatal error: ).*$`)

// AwaitCleanEnd waits until no process is left, and fails the test if the first one has ended with
// an error, or if a log ([StartLog]) has a complaint.
func (s *Service[L]) AwaitCleanEnd() {
	s.t.Helper()
	if err := s.AwaitEnd(); err != nil {
		s.t.Errorf("the first process ended with %v", err)
	}
	for _, line := range complaints.FindAllString(s.Log(), -1) {
		s.t.Error(line)
	}
}

// HasEnded reports whether no process is left.
func (s *Service[L]) HasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// AwaitExit waits for the end of one process.
func (s *Service[L]) AwaitExit(pid int) {
	s.t.Helper()
	if !s.exits(pid) {
		s.t.Fatalf("process %d does not end", pid)
	}
}

// end ends all processes: politely, and then not.
func (s *Service[L]) end() {
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the service has printed:\n%s", s.Log())
		}
	}()
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if s.signalAll(sig) {
			s.reap()
			return
		}
		s.t.Errorf("of processes %v not all have ended %v after %v", s.PIDs(), s.patience, sig)
	}
}

// signalAll sends a signal to every process once, also to those of which the lines tell late, and
// reports whether all have ended.
func (s *Service[L]) signalAll(sig unix.Signal) bool {
	signalled := make(map[int]bool)
	return s.wait(func() bool {
		if s.HasEnded() {
			return true
		}
		for _, pid := range s.PIDs() {
			if !signalled[pid] {
				signalled[pid] = true
				_ = unix.Kill(pid, sig) // it may have ended
			}
		}
		return false
	})
}

// raceStatus is that of a process in which the race detector has found something
// (https://go.dev/doc/articles/race_detector).
const raceStatus = 66

// reap waits for the processes, which have ended as far as we know.
func (s *Service[L]) reap() {
	<-s.exited
	s.judge(s.first.Process.Pid, s.first.ProcessState.ExitCode())
	for _, pid := range s.PIDs() {
		if !s.exits(pid) {
			s.t.Errorf("process %d is left over", pid)
		}
	}
}

// judge fails the test of a process with data races: it has told of them on its standard error.
func (s *Service[L]) judge(pid, status int) {
	if status == raceStatus {
		s.t.Errorf("process %d has data races", pid)
	}
}

// exits waits for the end of a process. An orphan has become our child.
func (s *Service[L]) exits(pid int) bool {
	deadline := time.Now().Add(s.patience)
	for ; unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if pid != s.first.Process.Pid { // another goroutine waits for that
			var status unix.WaitStatus
			if ended, _ := unix.Wait4(pid, &status, unix.WNOHANG, nil); ended == pid {
				s.judge(pid, status.ExitStatus())
			}
		}
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
