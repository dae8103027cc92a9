//go:build linux

package grace

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// upgradeWhileSilent upgrades the service to a successor that is stopped before it can take a
// connection.
func (s *service) upgradeWhileSilent(mode string) (old, successor int) {
	s.t.Helper()
	s.misbehave(mode + "-while-silent")
	old = s.PIDs()[0]
	// Another connection would have to be transferred too: the upgrade begins with a signal.
	if err := unix.Kill(old, unix.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	successor = s.awaitSuccessor(0)
	s.awaitEvent("the drain", "DrainStarted", 1, "upgraded=true")
	awaitThat(s.t, "the successor is stopped", func() bool { return isStopped(successor) })
	return old, successor
}

// wake continues a successor. It was stopped at some moment after it had said that it serves.
func (s *service) wake(successor int) {
	s.t.Helper()
	if err := unix.Kill(successor, unix.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
	s.awaitEvent("the successor", "ReadyFinished", 2, "")
}

// Connections that an old process offered before its death are the new one's, which has not
// answered yet.
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

// A successor that dies has not taken the connections that it did not answer for.
func TestSuccessorIsKilledWhileOffersAreUnanswered(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	l := startLoyal(s, 2)
	old, successor := s.upgradeWhileSilent("kill-new")
	s.awaitCount("all connections to stay", l.n, func(p printed) bool {
		return p.Event == "Kept" && strings.Contains(p.Err, ErrNoSuccessor.Error())
	})
	awaitThat(t, "the child is reaped", func() bool { return !alive(successor) })
	l.awaitMore()
	l.awaitGeneration(1)
	l.end(t)
	s.AwaitExit(old)
}

// A successor that hung gets no connections when it continues: the old process has kept using them.
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
	s.wantSockets(c, 2+1+1) // the last is the link to the old process; that for transfers has ended
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

// The same holds if the old process has ended before the successor continues.
func TestSuccessorHangsUntilTheOldProcessHasEnded(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	l := startLoyal(s, 1)
	old, successor := s.upgradeWhileSilent("wait")
	s.awaitCount("all connections to stay", l.n, func(p printed) bool { return p.Event == "Kept" })
	l.awaitMore()
	if err := unix.Kill(old, unix.SIGKILL); err != nil { // Revoked was sent before, and counts
		t.Fatal(err)
	}
	s.AwaitExit(old)
	s.wake(successor)
	s.awaitParentExit(2)
	c := s.own()
	s.wantSockets(c, 2+1)
	l.halt()
	took := s.count(func(p printed) bool { return p.Event == "Took" })
	if len(l.failures) != l.n || took > 0 {
		t.Errorf("connections of the old process have not ended with it: %v", l.failures)
	}
}
