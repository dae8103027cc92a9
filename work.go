package grace

import (
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/closed"
	"github.com/go-grace/grace/internal/wait"
)

// Go calls f in a goroutine of its own. f is a part of the service, such as the loop of a server.
// If f returns an error, this process cannot serve:
//
//   - In a successor whose handoff is not committed yet, the upgrade fails with that reason, as by
//     [Manager.Fail]: the old process keeps serving, and Ready returns the error.
//   - In any other process the service ends, as by [Manager.Shutdown] without a delay, unless an
//     upgrade that is under way succeeds. The error is part of what Run, Shutdown and Wait return.
//
// When f returns nil, nothing happens. The same holds once [Manager.Done] is closed, if the error
// only says that a listener or a server is closed, as the drain closes them: [net.ErrClosed] of an
// Accept, [net/http.ErrServerClosed], or a text that ends in "server closed" or "listener closed",
// as those of multiplexers do. Other errors are failures in the drain too. The drain waits for f,
// after the OnDrain hooks have run and all sockets are closed, until a second after its deadline.
//
// If f panics, the process ends, as by a panic in any other goroutine of the service: it cannot be
// known in which state f has left what it shares with the rest. In a successor whose handoff is not
// committed yet, that is a failed upgrade.
func (m *Manager) Go(f func() error) {
	m.work.Begin()
	go m.runPart(f) // ends with f; the drain waits for that
}

func (m *Manager) runPart(f func() error) {
	err := wait.ErrGoexit
	returned := false
	defer func() {
		if !returned {
			if v := recover(); v != nil {
				panic(v) // at once, and not when the service has ended
			}
		}
		m.workEnded(err)
	}()
	err = part(f)
	returned = true
}

// workEnded does what follows from the end of a function of Go.
func (m *Manager) workEnded(err error) {
	if m.Cause() != nil && closed.Listener(err) {
		err = nil
	}
	if err == nil || m.parent != nil && m.fail(err) == nil {
		m.work.End(nil) // or Ready tells why
		return
	}
	m.emit(m.draining, graceevent.PartFailed{Err: err})
	m.work.End(err)
	m.life.awaitUpgrade() // a successor that comes up is better than no service
	m.stopNow()
}
