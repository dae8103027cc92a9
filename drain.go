package grace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
)

// drain finishes the work of this process.
func (m *Manager) drain(upgraded bool) {
	ctx, cancel := context.WithTimeout(m.draining, m.opts.drainTimeout)
	defer cancel()
	if m.parent != nil {
		m.parent.renounce(m.life.whyNot())
	}
	successor := m.successor.Load()
	if upgraded {
		m.watching.Go(func() { m.heed(successor.link) }) // ends with the drain
		m.watching.Go(func() { successor.sender.Run(m.draining) })
	}
	m.emit(DrainStarted{Upgraded: upgraded, Timeout: m.opts.drainTimeout})
	start := time.Now()
	doors := m.sockets.ListenerIDs()
	err := errors.Join(m.hooks.drain(ctx), m.sockets.Close(), m.pidFile.remove())
	m.passing.forget()
	m.received.close(m.life.stopped())
	m.gate.Release() // all sockets are closed
	m.handlers.Close()
	err = errors.Join(err, m.work.wait(ctx))
	end := DrainFinished{Duration: time.Since(start), Cut: countCut(doors), Err: err}
	if upgraded {
		end.Transferred = successor.sender.Taken()
	}
	m.emit(end)
	if upgraded {
		successor.farewell(end)
	}
	m.hurry(nil)
	m.ancestors.leave()
	m.watching.Wait()
	if upgraded {
		successor.sender.Close()
	}
	if m.parent != nil {
		m.parent.leave()
	}
	m.closeReceivers()
	m.signals.release()
	m.life.finish(err)
}

// heed ends the drain when a newer generation asks for it.
func (m *Manager) heed(l link) {
	for {
		msg, err := l.Receive(m.draining)
		if err != nil {
			return // the link has ended, or the drain
		}
		if leave, ok := msg.(*handoff.Leave); ok {
			m.hurry(fmt.Errorf("a newer generation ends the drain: %s", leave.Reason))
		}
	}
}

// countCut counts the connections that are still open.
func countCut(doors []fds.ListenerID) []Cut {
	var cut []Cut
	for i, n := range fds.Connections(doors) {
		if n > 0 {
			cut = append(cut, Cut{Socket: doors[i].String(), Connections: n})
		}
	}
	return cut
}
