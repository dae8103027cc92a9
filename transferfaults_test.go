//go:build linux

package grace

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// upgradeWhileSilent has the service upgrade to a successor that is stopped before it can take a connection.
func (s *service) upgradeWhileSilent(mode string) (old, successor int) {
	s.t.Helper()
	s.misbehave(mode + "-while-silent")
	old = s.PIDs()[0]
	if err := unix.Kill(old, unix.SIGHUP); err != nil { // another connection would have to be transferred too
		s.t.Fatal(err)
	}
	successor = s.awaitSuccessor(0)
	s.awaitEvent("the drain", "DrainStarted", 1, "upgraded=true")
	awaitThat(s.t, "the successor is stopped", func() bool { return isStopped(successor) })
	return old, successor
}

// wake continues a successor, which was stopped at any moment after it had said that it serves.
func (s *service) wake(successor int) {
	s.t.Helper()
	if err := unix.Kill(successor, unix.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
	s.awaitEvent("the successor", "ReadyFinished", 2, "")
}

// What the old process has offered when it dies is the new one's, which has not answered yet.
func TestOldProcessIsKilledWhileOffersAreUnanswered(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	l := startLoyal(s, 2)
	old, successor := s.upgradeWhileSilent("kill-old")
	s.AwaitExit(old)
	s.wake(successor)
	l.awaitGeneration(2)
	l.awaitMore()
	s.awaitParentExit(2)
	c := s.own()
	s.wantSockets(c, 2+l.n+1)
	l.end(t)
}

// A successor that dies has taken nothing that it had not answered for.
func TestSuccessorIsKilledWhileOffersAreUnanswered(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	l := startLoyal(s, 2)
	old, successor := s.upgradeWhileSilent("kill-new")
	s.awaitCount("all connections to stay", l.n, func(p printed) bool {
		return p.Event == "Kept" && strings.Contains(p.Err, ErrNoSuccessor.Error())
	})
	awaitThat(t, "the old process has waited for its child", func() bool { return !alive(successor) })
	l.awaitMore()
	l.awaitGeneration(1)
	l.end(t)
	s.AwaitExit(old)
}

// A successor that hangs gets nothing any more, also when it goes on: the old process has gone on with its connections.
func TestSuccessorThatHangsGetsNoConnection(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	l := startLoyal(s, 2)
	old, successor := s.upgradeWhileSilent("wait")
	s.awaitCount("all connections to stay", l.n, func(p printed) bool {
		return p.Event == "Kept" && strings.Contains(p.Err, ErrNoSuccessor.Error())
	})
	l.awaitMore()
	s.wake(successor)
	c := s.own()
	s.wantSockets(c, 2+1+1) // the link to the old process; that for transfers has ended
	l.awaitMore()
	l.awaitGeneration(1)
	l.end(t)
	s.AwaitExit(old)
	s.awaitParentExit(2)
	s.wantSockets(c, 2+1)
	if n := s.count(func(p printed) bool { return p.Event == "Took" }); n > 0 {
		t.Errorf("it has taken %d connections", n)
	}
}

// The same when the old process has ended by the time at which the successor goes on.
func TestSuccessorHangsUntilTheOldProcessHasEnded(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	l := startLoyal(s, 1)
	old, successor := s.upgradeWhileSilent("wait")
	s.awaitCount("all connections to stay", l.n, func(p printed) bool { return p.Event == "Kept" })
	l.awaitMore()
	if err := unix.Kill(old, unix.SIGKILL); err != nil { // after what it has said, which counts
		t.Fatal(err)
	}
	s.AwaitExit(old)
	s.wake(successor)
	s.awaitParentExit(2)
	c := s.own()
	s.wantSockets(c, 2+1)
	l.halt()
	if len(l.failures) != l.n || s.count(func(p printed) bool { return p.Event == "Took" }) > 0 {
		t.Errorf("the connections of the old process have not all ended with it: %v", l.failures)
	}
}
