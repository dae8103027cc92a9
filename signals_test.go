//go:build linux

package grace

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (s *service) signal(pid int, sig unix.Signal) {
	s.t.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
}

func TestUpgradeSignals(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	for i, sig := range []unix.Signal{unix.SIGHUP, unix.SIGUSR2} {
		_, pid := s.serving()
		s.signal(pid, sig)
		s.Await("the next generation", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == i+2 && p.Err == "" })
		s.AwaitExit(pid)
	}
}

func TestShutdownSignals(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			pidFile := filepath.Join(t.TempDir(), "pid")
			s := start(t, "lines", config{Listen: tcpOnly.Listen, PIDFile: pidFile})
			_, pid := s.serving()
			s.signal(pid, sig)
			s.AwaitExit(pid)
			if end := s.Await("the end of the drain", finished("DrainFinished", pid)); end.Err != "" {
				t.Errorf("the drain: %s", end.Err)
			}
			if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
				t.Errorf("the PID file is left: %v", err)
			}
		})
	}
}

// Both signals come before the program has called Run: the first is not lost, and none is fatal.
func TestSignalsBeforeReadyAreKept(t *testing.T) {
	t.Run("upgrade", func(t *testing.T) {
		s := launch(t, "lines", withMode(t, "early-hangup"))
		s.Await("the second generation", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == 2 && p.Err == "" })
	})
	t.Run("shutdown", func(t *testing.T) {
		s := launch(t, "lines", withMode(t, "early-terminate"))
		end := s.Await("the end of the drain", finished("DrainFinished", 0))
		if end.Err != "" {
			t.Errorf("the drain: %s", end.Err)
		}
		s.AwaitExit(end.PID)
	})
}

// withMode is a service whose first generation behaves in some way; so do those that come before the mode is changed.
func withMode(t *testing.T, mode string) config {
	t.Helper()
	c := tcpOnly
	c.ModeFile = filepath.Join(t.TempDir(), "mode")
	if err := os.WriteFile(c.ModeFile, []byte(mode), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSecondShutdownSignalForcesTheExit(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	c := s.dial() // keeps the drain from ending
	defer c.Close()
	_, pid := s.serving()
	s.signal(pid, unix.SIGTERM)
	s.Await("the drain", finished("DrainStarted", pid))
	s.signal(pid, unix.SIGTERM)
	s.AwaitExit(pid)
}

// A start-up that hangs can be ended as any other program can.
func TestSecondShutdownSignalEndsAHangingStart(t *testing.T) {
	s := launch(t, "lines", withMode(t, "hang-before-run"))
	opened := s.Await("a socket", finished("SocketOpened", 0))
	s.signal(opened.PID, unix.SIGTERM)
	for alive(opened.PID) { // a second signal that comes too soon is one with the first
		time.Sleep(10 * time.Millisecond)
		_ = unix.Kill(opened.PID, unix.SIGTERM)
		_, _ = unix.Wait4(opened.PID, nil, unix.WNOHANG, nil)
	}
}

// Ctrl-C reaches both processes of an upgrade.
func TestInterruptDuringAnUpgradeEndsBothProcesses(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	_, old := s.serving()
	s.misbehave("hang")
	s.signal(old, unix.SIGHUP)
	s.Await("the successor", func(p printed) bool { return p.Event == "HookStarted" && p.Generation == 2 })
	pids := s.PIDs()
	if len(pids) != 2 {
		t.Fatalf("there are processes %v", pids)
	}
	for _, pid := range pids {
		s.signal(pid, unix.SIGINT)
	}
	for _, pid := range pids {
		s.AwaitExit(pid)
	}
	refused(t, "tcp", s.addr(0))
}

// A successor that is told to stop must not be committed: nobody would serve.
func TestShutdownSignalToASuccessorFailsTheUpgrade(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	_, old := s.serving()
	s.misbehave("hang-politely")
	s.signal(old, unix.SIGHUP)
	hook := s.Await("the successor", func(p printed) bool { return p.Event == "HookStarted" && p.Generation == 2 })
	s.signal(hook.PID, unix.SIGTERM)
	failed := s.Await("the upgrade to fail", finished("UpgradeFinished", old))
	if failed.Err == "" {
		t.Error("the upgrade has succeeded")
	}
	if _, now := s.serving(); now != old {
		t.Errorf("process %d serves", now)
	}
}

func TestSignalsSwitchedOffHaveTheirDefaultAction(t *testing.T) {
	c := tcpOnly
	c.NoSignals = true
	s := start(t, "lines", c)
	_, pid := s.serving()
	_ = unix.Kill(pid, unix.SIGHUP) // the end, or nothing where the tests run under nohup
	_ = unix.Kill(pid, unix.SIGTERM)
	s.AwaitExit(pid)
	if n := s.count(func(p printed) bool { return p.Event == "UpgradeStarted" || p.Event == "DrainStarted" }); n > 0 {
		t.Error("the process has caught a signal")
	}
}

func TestPIDFileNamesWhoServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	s := start(t, "lines", config{Listen: tcpOnly.Listen, PIDFile: path})
	for range 3 {
		_, pid := s.serving()
		if got, err := os.ReadFile(path); err != nil || string(got) != fmt.Sprintln(pid) {
			t.Errorf("the PID file says %q, and %d serves (%v)", got, pid, err)
		}
		s.upgrade()
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	// Another process has taken the file: it is no longer ours.
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, pid := s.serving()
	s.signal(pid, unix.SIGTERM)
	s.AwaitExit(pid)
	if got, _ := os.ReadFile(path); strings.TrimSpace(string(got)) != "1" {
		t.Errorf("the PID file of another process says %q now", got)
	}
}

// The successor cannot write the file after the commit: the old process takes service back.
func TestPIDFileThatCannotBeWrittenFailsTheUpgrade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pid")
	s := start(t, "lines", config{Listen: tcpOnly.Listen, PIDFile: path})
	_, pid := s.serving()
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	l := startLoad(s)
	if got := s.ask("upgrade"); !strings.Contains(got, "write PID file") || !strings.Contains(got, string(StepCommit)) {
		t.Errorf("Upgrade returned %q", got)
	}
	l.end(t)
	if _, now := s.serving(); now != pid {
		t.Errorf("process %d serves", now)
	}
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
}
