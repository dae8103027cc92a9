package grace

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/process"
)

// A program of facebookgo/grace replaces itself like this: it starts its own command with its sockets from descriptor 3 on and
// LISTEN_FDS in the environment; the new process sends SIGTERM to its parent when it serves, and the old one drains. Nothing
// else passes between them.

// findLegacyParent gives the number of a parent that waits for SIGTERM, or 0. It has passed sockets without saying to whom, and
// runs the command that this process runs: nobody else starts a process so. Development tools and shells that pass sockets
// have a command of their own, and must not be signalled.
func findLegacyParent() (int, error) {
	pid := os.Getppid()
	if !process.Supported || pid <= 1 || !fds.Unaddressed() || handoff.Expected() || !process.SameCommand(pid) {
		return 0, nil
	}
	return pid, fds.Readdress()
}

// newLegacyParent watches a parent that waits for SIGTERM. There is no link to it: one that has ended stands for it.
func newLegacyParent(pid int) (*parent, error) {
	l, err := handoff.Ended()
	if err != nil {
		return nil, fmt.Errorf("follow process %d: %w", pid, err)
	}
	a := newAncestor(Process{PID: pid, Generation: 1}, l, watchNumber(pid), time.Time{})
	a.legacy = true
	return &parent{ancestor: a}, nil
}

// supersede begins to serve beside a legacy parent, and ends that.
func (m *Manager) supersede() {
	m.parent.served.Store(true)
	m.gate.Open()
	m.settle()
	m.parent.due = m.dismiss(m.parent.ancestor)
	m.ancestors.add(m.parent.ancestor)
	m.ancestors.follow()
}

// dismiss tells a legacy parent that this process serves, if the hooks allow it, and gives when it has to be gone.
func (m *Manager) dismiss(a *ancestor) (due time.Time) {
	if !a.lives() {
		return time.Now()
	}
	err := m.hooks.parentKill(m.draining, a.Process)
	if err == nil {
		kept := m.keepPaths()
		m.watching.Go(func() { m.restorePaths(kept, a) }) // ends with the parent or the drain
		err = m.signalAncestor(m.draining, a, syscall.SIGTERM)
	}
	if err != nil {
		m.emit(Warned{fmt.Errorf("process %d, whose protocol is that of facebookgo/grace, has not been told to drain, and serves on: %w", a.PID, err)})
		return time.Now().AddDate(100, 0, 0) // it is not asked to leave
	}
	return time.Now().Add(m.opts.drainTimeout + overdueGrace)
}
