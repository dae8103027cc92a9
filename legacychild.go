package grace

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/process"
)

// A successor that is a program of facebookgo/grace takes the sockets, but neither finds its link nor reads it. When it serves, it
// sends SIGTERM to its parent, which also is how an operator ends the service. Package os/signal does not tell who has sent a
// signal; so what the successor has done decides: see isForeign.

// errForeign ends the wait for Ready: the successor has said in another way that it serves.
var errForeign = errors.New("the successor speaks the protocol of facebookgo/grace")

// isReadySignal reports whether a shutdown signal is the word of a successor of facebookgo/grace, and then acts on it. It counts
// once: the next one is for this process.
func (m *Manager) isReadySignal(sig os.Signal) bool {
	a := m.awaited.Load()
	if sig != syscall.SIGTERM || a == nil || !a.isForeign() || a.signalled.Swap(true) {
		return false
	}
	m.emit(SuccessorSignalled{PID: a.pid()})
	if !a.recognize() {
		m.emit(Warned{fmt.Errorf("the successor %d has signalled that it serves when the upgrade had failed already", a.pid())})
	}
	return true
}

// isForeign reports whether the successor has done what none of ours can: it has taken sockets before it has read Hello.
func (a *attempt) isForeign() bool {
	<-a.launched
	return a.succ != nil && a.hasTakenSockets() && !a.hasReadHello()
}

func (a *attempt) hasReadHello() bool {
	if a.succ.link.IsRead() {
		<-a.greeted // it may not have been sent
	}
	return a.succ.link.IsRead()
}

// hasTakenSockets reports whether the successor has one of our sockets at a number other than those at which it was passed: package
// net makes a duplicate of what it takes. To have none any more is not enough: so it is after New has failed.
func (a *attempt) hasTakenSockets() bool {
	theirs, err := process.Descriptors(a.pid())
	if err != nil {
		return false // no process is ended or left behind by mistake: SIGTERM is what it always is
	}
	ours := a.m.socketNames()
	for fd, what := range theirs {
		if passed := fd >= fds.First && fd < fds.First+a.passed; !passed && ours[what] {
			return true
		}
	}
	return false
}

// socketNames tells the open sockets from all others, also in another process.
func (m *Manager) socketNames() map[string]bool {
	names := make(map[string]bool)
	for _, sock := range m.sockets.Sockets() {
		if raw, err := sock.Conn().SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { names[process.SocketName(fd)] = true })
		}
	}
	delete(names, "")
	return names
}

// yield is the end of an upgrade whose successor serves, and cannot be told anything.
func (a *attempt) yield() {
	m := a.m
	_ = a.succ.link.Close() // a later successor that finds the other end sees that nobody is there
	a.succ.sender.Close()
	a.redirects.Close()
	m.sockets.HandOver()
	m.shutGate()
	if m.opts.probation > 0 {
		m.emit(Warned{fmt.Errorf("no probation: %w, and serves", errForeign)})
	}
	if err := m.pidFile.name(a.pid()); err != nil {
		m.emit(Warned{err}) // the successor has accepted connections: it cannot be taken back for this
	}
}
