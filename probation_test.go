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

func onProbation(t *testing.T, d time.Duration) (*service, config) {
	t.Helper()
	dir := t.TempDir()
	c := config{
		Listen:    []endpoint{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "unix", Address: filepath.Join(dir, "s")}},
		Probation: d,
		PIDFile:   filepath.Join(dir, "pid"),
	}
	return start(t, "lines", c), c
}

// dialGeneration opens a connection to a certain one of the generations that accept.
func (s *service) dialGeneration(generation int) *client {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		c := s.dialAny()
		if answer, err := c.ask("who"); err == nil && strings.HasPrefix(answer, fmt.Sprintf("who %d ", generation)) {
			return c
		}
		c.Close()
	}
	s.t.Fatalf("generation %d does not accept", generation)
	return nil
}

// Both processes accept connections until the probation is over, and none of their clients notices.
func TestProbation(t *testing.T) {
	t.Parallel()
	s, c := onProbation(t, 3*time.Second)
	l := startLoad(s)
	_, pid := s.serving()
	upgraded := s.upgrading()
	s.awaitEvent("the probation", "ProbationStarted", 2, "")
	s.dialGeneration(2).Close()
	s.dialGeneration(1).Close()
	if got, _ := os.ReadFile(c.PIDFile); string(got) != fmt.Sprintln(pid) {
		t.Errorf("the PID file says %q during the probation, and not %d", got, pid)
	}
	if got := <-upgraded; got != "upgraded" {
		t.Fatalf("Upgrade returned %q", got)
	}
	s.awaitEvent("the commit", "ReadyFinished", 2, "")
	if generation, now := s.serving(); generation != 2 {
		t.Errorf("generation %d serves", generation)
	} else if got, _ := os.ReadFile(c.PIDFile); string(got) != fmt.Sprintln(now) {
		t.Errorf("the PID file says %q and not %d", got, now)
	}
	l.end(t)
}

// Whatever ends the probation, everything is the old process's again.
func TestProbationThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(s *service, successor *client, pid int)
		says  []string
		loses bool // the connections of the successor
	}{
		"killed": {
			fail:  func(_ *service, _ *client, pid int) { _ = unix.Kill(pid, unix.SIGKILL) },
			says:  []string{"on probation", "signal: killed"},
			loses: true,
		},
		"Fail": {
			fail: func(s *service, c *client, _ int) {
				if answer, err := c.ask("fail too many errors"); err != nil || !strings.HasPrefix(answer, "too many errors") {
					s.t.Errorf("Fail returned %q, %v", answer, err)
				}
			},
			says: []string{"too many errors", "exit status 1"},
		},
		"terminated": {
			fail: func(_ *service, _ *client, pid int) { _ = unix.Kill(pid, unix.SIGTERM) },
			says: []string{ErrShutdown.Error(), "exit status 0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, conf := onProbation(t, time.Minute)
			generation, pid := s.serving()
			s.ask("census")
			held := s.hold()
			before := heldCensus(t, held)
			upgraded := s.upgrading()
			successor := s.awaitEvent("the probation", "ProbationStarted", 2, "").PID
			onSuccessor := s.dialGeneration(2)
			defer onSuccessor.Close()
			c.fail(s, onSuccessor, successor)
			if !c.loses { // it finishes what it has accepted
				untilClose(t, onSuccessor)
			}
			onSuccessor.Close()
			got := <-upgraded
			for _, want := range c.says {
				if !strings.Contains(got, want) {
					t.Errorf("Upgrade returned %q, which does not say %q", got, want)
				}
			}
			if g, now := s.serving(); g != generation || now != pid {
				t.Errorf("process %d serves and not %d", now, pid)
			}
			if got, _ := os.ReadFile(conf.PIDFile); string(got) != fmt.Sprintln(pid) {
				t.Errorf("the PID file says %q and not %d", got, pid)
			}
			sameCensus(t, before, func() census { return heldCensus(t, held) })
			l := startLoad(s) // on both listeners: the path of the unix socket is there
			time.Sleep(10 * time.Millisecond)
			l.end(t)
		})
	}
}

// untilClose asks until the server says that it drains.
func untilClose(t *testing.T, c *client) {
	t.Helper()
	for {
		answer, err := c.ask("x")
		if err != nil {
			t.Errorf("the successor's client got %q, %v", answer, err)
		}
		if err != nil || strings.HasSuffix(answer, " close") {
			return
		}
	}
}

// The old process dies while its successor is on probation: that one serves.
func TestParentDiesDuringProbation(t *testing.T) {
	s, c := onProbation(t, time.Minute)
	_, pid := s.serving()
	s.upgrading()
	successor := s.awaitEvent("the probation", "ProbationStarted", 2, "").PID
	onSuccessor := s.dialGeneration(2)
	defer onSuccessor.Close()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.awaitEvent("the take-over", "ReadyFinished", 2, "")
	if _, now := s.serving(); now != successor {
		t.Errorf("process %d serves and not %d", now, successor)
	}
	if answer, err := onSuccessor.ask("x"); err != nil || strings.HasSuffix(answer, " close") {
		t.Errorf("the successor's client got %q, %v", answer, err)
	}
	if got, _ := os.ReadFile(c.PIDFile); string(got) != fmt.Sprintln(successor) {
		t.Errorf("the PID file says %q and not %d", got, successor)
	}
}
