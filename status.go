package grace

import (
	"os"
)

// Status is a look at a [Manager].
type Status struct {
	Generation int // of this process; the first is 1
	PID        int // of this process
	State      State
	Handoff    string    // the latest handoff that this process takes part in; "" before the first
	Parent     *Process  // the old process, while it lives; else nil
	Draining   []Process // older generations that live and are followed, the oldest first
	Successor  *Process  // the new process, from its start on; nil if there is none
	Sockets    []Socket  // that are open
}

// Status looks at the Manager.
func (m *Manager) Status() Status {
	s := Status{
		Generation: m.generation, PID: os.Getpid(), State: m.life.current(), Handoff: m.handoffID(),
	}
	if p, ok := m.Parent(); ok {
		s.Parent = &p
	}
	for _, o := range m.older.Living() {
		s.Draining = append(s.Draining, o.Process)
	}
	if u := m.upgrade.Load(); u != nil {
		s.Successor = u.successor.Load()
	}
	for _, sock := range m.sockets.Sockets() {
		s.Sockets = append(s.Sockets, describeSocket(sock))
	}
	return s
}

// Parent returns the process that this one succeeds, while it lives.
func (m *Manager) Parent() (Process, bool) {
	if m.parent == nil {
		return Process{}, false
	}
	return m.parent.Process, m.parent.Lives()
}
