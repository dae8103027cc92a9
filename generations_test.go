//go:build linux

package grace

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hold opens a connection to the generation that serves now, which then has to wait for it when it drains.
func (s *service) hold() *client {
	s.t.Helper()
	c := s.dial()
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *service) awaitEvent(what, event string, generation int, detail string) printed {
	s.t.Helper()
	return s.Await(what, func(p printed) bool {
		return p.Event == event && p.Generation == generation && strings.Contains(p.Detail, detail)
	})
}

func TestUpgradeIsRefusedWhileTooManyGenerationsDrain(t *testing.T) {
	c := tcpOnly
	c.MaxDraining = 2
	s := start(t, "lines", c)
	oldest := s.hold()
	s.upgrade()
	s.hold()
	s.upgrade()
	_, pid := s.serving()
	got := s.ask("upgrade")
	if !strings.Contains(got, ErrTooManyDraining.Error()) || !strings.Contains(got, "generations 1 (process") || !strings.Contains(got, ", 2 (process") {
		t.Errorf("Upgrade returned %q", got)
	}
	if _, now := s.serving(); now != pid {
		t.Errorf("process %d serves and not %d", now, pid)
	}
	if got := s.ask("status"); strings.Count(got, `"PID"`) != 3 { // two that drain, and the later of them once more as the parent
		t.Errorf("status: %s", got)
	}
	oldest.Close()
	s.awaitEvent("the end of the oldest", "AncestorExited", 3, "ancestor_generation=1")
	s.upgrade()
}

// The generation that serves hears the last words of all that drain, also of those whose own successor is gone by then.
func TestReportsOfOlderGenerations(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	first := s.hold()
	_, firstPID := s.serving()
	s.upgrade()
	_, secondPID := s.serving()
	s.upgrade()
	s.AwaitExit(secondPID)
	s.upgrade()
	if got := s.ask("status"); !strings.Contains(got, fmt.Sprintf(`"draining":[{"PID":%d,"Generation":1}`, firstPID)) {
		t.Errorf("status: %s", got)
	}
	first.Close()
	s.AwaitExit(firstPID)
	exit := s.awaitEvent("the report", "AncestorExited", 4, "ancestor_generation=1")
	if !strings.Contains(exit.Detail, "drain=") || strings.Contains(exit.Detail, "cut") {
		t.Errorf("the report says %q", exit.Detail)
	}
}

func TestOldestGenerationIsEnded(t *testing.T) {
	c := tcpOnly
	c.MaxDraining, c.EndOldest = 1, true
	s := start(t, "lines", c)
	_, pid := s.serving()
	s.hold()
	s.hold()
	s.upgrade()
	kept := s.hold()
	s.upgrade()
	s.AwaitExit(pid)
	own := s.awaitEvent("its own report", "DrainFinished", 1, "cut=")
	_, cut, _ := strings.Cut(own.Detail, "cut=")
	var n, by int // a connection that its client has just closed may still be among them
	_, err := fmt.Sscanf(cut, "%d cut_by_listener=[%d of tcp "+s.addr(0)+"]", &n, &by)
	if err != nil || n < 2 || n != by {
		t.Errorf("it has cut %s: %v", cut, err)
	}
	s.awaitEvent("the report of it", "ParentExited", 2, strings.TrimSpace(cut))
	if _, err := kept.ask("still there"); err != nil {
		t.Errorf("the younger generation was ended too: %v", err)
	}
}

// A drain that does not come to its end is cut short, and says what it has cut.
func TestDrainCutsAtItsDeadline(t *testing.T) {
	c := tcpOnly
	c.Drain = 300 * time.Millisecond
	s := start(t, "lines", c)
	held := s.hold()
	s.upgrade()
	if _, err := held.in.ReadString('\n'); err == nil {
		t.Error("the connection is still there")
	}
	s.awaitEvent("the report", "ParentExited", 2, fmt.Sprintf("1 of tcp %s", s.addr(0)))
}

// A process that is stopped while it drains is killed by the one that serves, through its descriptor.
func TestStoppedParentIsKilled(t *testing.T) {
	t.Parallel()
	c := tcpOnly
	c.Drain = time.Second
	s := start(t, "lines", c)
	_, pid := s.serving()
	s.hold()
	s.upgrade()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.awaitEvent("SIGTERM", "AncestorSignalled", 2, "signal=terminated")
	s.awaitEvent("SIGKILL", "AncestorSignalled", 2, "signal=killed")
	s.awaitEvent("its end", "ParentExited", 2, "signal=killed")
	s.upgrade()
}

// Twenty upgrades a second for ten seconds, with connections that live for eight: nothing is lost, and the cap holds.
func TestManyUpgradesWithLongConnections(t *testing.T) {
	t.Parallel()
	const lasts, lives, pause = 10 * time.Second, 8 * time.Second, 50 * time.Millisecond
	s := start(t, "lines", tcpOnly)
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var clients sync.WaitGroup
	clients.Go(func() {
		for ctx.Err() == nil {
			clients.Go(func() { longConnection(t, s.addr(0), lives) })
			time.Sleep(pause)
		}
	})
	upgrades, refused := 0, 0
	for tick := time.NewTicker(pause); ctx.Err() == nil; <-tick.C {
		switch got := s.ask("upgrade"); {
		case got == "upgraded":
			upgrades++
		case strings.Contains(got, ErrTooManyDraining.Error()):
			refused++
		case strings.Contains(got, ErrUpgraded.Error()): // the one that was just replaced has accepted this
		default:
			t.Errorf("upgrade: %s", got)
		}
		if n := len(s.alive()); n > DefaultMaxDraining+1 {
			t.Errorf("%d generations are alive: %v", n, s.alive())
		}
	}
	clients.Wait()
	t.Logf("%d upgrades, %d refused", upgrades, refused)
	if upgrades < DefaultMaxDraining || refused == 0 {
		t.Errorf("%d upgrades and %d refused do not show what was meant", upgrades, refused)
	}
}

// alive returns those of the generations that are running.
func (s *service) alive() []int {
	var running []int
	for _, pid := range s.PIDs() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, rest, ok := strings.Cut(string(stat), ") "); err == nil && ok && rest[0] != 'Z' {
			running = append(running, pid)
		}
	}
	return running
}

// longConnection speaks with one process for as long as the connection is to live, whether or not that drains.
func longConnection(t *testing.T, addr string, lives time.Duration) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("dial: %v", err)
		return
	}
	defer conn.Close()
	c := newClient(conn)
	for end := time.Now().Add(lives); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if answer, err := c.ask("x"); err != nil || !strings.HasPrefix(answer, "x ") {
			t.Errorf("after %v: %q, %v", lives-time.Until(end), answer, err)
			return
		}
	}
}
