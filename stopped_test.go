//go:build linux

package grace

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/test/helpertest"
)

// stop stops this process until it gets SIGCONT.
func stop() {
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
}

// stopAfter is a successor that speaks by hand, and stops forever at a certain moment.
func stopAfter(said string) error {
	if said == "nothing" {
		stop()
		helpertest.Hang()
	}
	link, _, err := handoff.TakeLink(0)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := link.Receive(ctx); err != nil {
		return err
	}
	if said == "commit" {
		if err := link.Send(ctx, &handoff.Ready{}); err != nil {
			return err
		}
		if _, err := link.Receive(ctx); err != nil {
			return err
		}
	}
	stop()
	helpertest.Hang()
	return nil
}

// stopParent returns when all threads of the process have noticed.
func stopParent(pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	for !isStopped(pid) {
		time.Sleep(time.Millisecond)
	}
	return nil
}

func isStopped(pid int) bool {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		if state := processState(fmt.Sprintf("%d/task/%s", pid, thread.Name())); state != "T" && state != "" {
			return false
		}
	}
	return true
}

// hasStoppedChild leaves out a child that has just ended: of that, no thread is running either.
func hasStoppedChild() bool {
	return slices.ContainsFunc(children(), func(kid string) bool {
		pid, err := strconv.Atoi(kid)
		return err == nil && isStopped(pid) && processState(kid) == "T"
	})
}

// A successor that is stopped is one that takes too long. The old process serves meanwhile and afterwards, also if the
// upgrade is cancelled.
func TestSuccessorThatIsStopped(t *testing.T) {
	t.Parallel()
	timeout, cancelled := ErrTimeout.Error(), errTestCancels.Error()
	for _, c := range []struct {
		mode    string
		long    bool   // Hello does not fit into the buffer of the socket: the successor has to read it before it all is sent
		stopped string // what the upgrade comes to if it is cancelled then; "" if the successor is not stopped
	}{
		{"stop-after nothing", false, cancelled},
		{"stop-after nothing", true, cancelled},
		{"never-new", true, ""},
		{"stop-after hello", false, cancelled},
		{"stop-after commit", false, timeout}, // it was told to serve, and so is waited for
	} {
		for command, want := range map[string]string{"try": timeout, "try stopped": c.stopped} {
			if want == "" {
				continue
			}
			t.Run(fmt.Sprintf("%s, long %v, %s", c.mode, c.long, command), func(t *testing.T) {
				t.Parallel()
				config := tcpOnly
				config.Timeout = time.Second
				if command == "try stopped" { // which is over when the successor has stopped
					config.Timeout = patience
				}
				if c.long {
					config.Count, config.LongNames = 1500, true
				}
				s := start(t, "limits", config)
				_, pid := s.serving()
				l := startLoad(s)
				s.misbehave(c.mode)
				var got tried
				decode(t, s.ask(command), &got)
				if got.Upgraded || got.State != "signal: killed" || !strings.Contains(got.Text, want) {
					t.Errorf("Upgrade returned %+v, and not %q", got, want)
				}
				if _, now := s.serving(); now != pid {
					t.Errorf("process %d serves and not %d", now, pid)
				}
				if kids := childrenOf(pid); len(kids) > 0 {
					t.Errorf("the process has the children %v", kids)
				}
				l.end(t)
			})
		}
	}
}

// At whichever moment the successor is stopped, either it serves, when it goes on, or the old process does.
func TestSuccessorThatIsStoppedAtAnyMoment(t *testing.T) {
	t.Parallel()
	c := tcpOnly
	c.Timeout = time.Second
	s := start(t, "limits", c)
	l := startLoad(s)
	for i := range 3 { // each takes the 10 seconds of commitTimeout if it is stopped after Ready
		generation, pid := s.serving()
		asked := s.dial()
		answer := make(chan string, 1)
		go func() {
			got, err := asked.ask("try")
			answer <- fmt.Sprint(got, err)
		}()
		next := s.awaitSuccessor(i)
		time.Sleep(time.Duration(rand.IntN(40_000_000)))
		_ = unix.Kill(next, unix.SIGSTOP)
		var got tried
		result := <-answer
		asked.Close()
		text, _, _ := strings.Cut(result, "}")
		decode(t, text+"}", &got)
		if got.Upgraded {
			if err := unix.Kill(next, unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			s.Await("the successor to be ready", func(p printed) bool { return p.Event == "ReadyFinished" && p.PID == next && p.Err == "" })
		} else if !got.TimedOut || got.State != "signal: killed" {
			t.Errorf("Upgrade returned %s", result)
		}
		now, nowPID := s.serving()
		if got.Upgraded && (now != generation+1 || nowPID != next) || !got.Upgraded && nowPID != pid {
			t.Fatalf("Upgrade returned %s, and generation %d was followed by %d", result, generation, now)
		}
	}
	l.end(t)
}

// awaitSuccessor waits until the nth successor was started, and returns its pid.
func (s *service) awaitSuccessor(n int) (pid int) {
	s.t.Helper()
	seen := map[string]bool{}
	s.Await("a successor", func(p printed) bool {
		if p.Event != "SuccessorStarted" {
			return false
		}
		seen[p.Handoff] = true
		_, err := fmt.Sscanf(p.Detail, "successor=%d", &pid)
		return err == nil && len(seen) == n+1
	})
	return pid
}

// The old process is stopped when it has handed over: the new one does all that it does without it.
func TestOldProcessThatIsStopped(t *testing.T) {
	s := start(t, "limits", tcpOnly)
	_, first := s.serving()
	held := s.dial()
	defer held.Close()
	nilAnswer(t, held, "stop-in-drain")
	if err := unix.Kill(first, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Await("the successor", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == 2 && p.Err == "" })
	awaitThat(t, "the old process stops", func() bool { return isStopped(first) })
	l := startLoad(s)
	var status struct{ Parent *Process }
	decode(t, s.ask("status"), &status)
	if status.Parent == nil || status.Parent.PID != first {
		t.Errorf("the parent is %v", status.Parent)
	}
	c := s.dial()
	nilAnswer(t, c, "listen tcp 127.0.0.1:0")
	c.Close()
	s.failUpgrade("hook-error", "the database is not there")
	s.misbehave("")
	s.upgrade()
	s.awaitParentExit(3) // the second generation ends, though nobody waits for it
	l.end(t)
	_, third := s.serving()
	if err := unix.Kill(third, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.AwaitExit(third)
	held.Close()
	if err := unix.Kill(first, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.AwaitExit(first)
}

// A successor that stops while its parent is stopped, before or after it has become ready, is not held up by it.
func TestShutdownOfASuccessorWhoseParentIsStopped(t *testing.T) {
	s := start(t, "limits", tcpOnly)
	_, first := s.serving()
	s.misbehave("stop-parent")
	if err := unix.Kill(first, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	second := s.awaitSuccessor(0)
	awaitThat(t, "the old process stops", func() bool { return isStopped(first) })
	if err := unix.Kill(second, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "the successor ends", func() bool { return processState(strconv.Itoa(second)) == "Z" }) // nobody waits for it now
	if err := unix.Kill(first, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.Await("the upgrade to fail", func(p printed) bool { return p.Event == "UpgradeFinished" && p.PID == first && p.Err != "" })
	if _, now := s.serving(); now != first {
		t.Errorf("process %d serves and not %d", now, first)
	}
	s.misbehave("")
	s.upgrade()
}

func awaitThat(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
