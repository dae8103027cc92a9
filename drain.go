package grace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/handoff"
	"github.com/go-grace/grace/internal/wait"
	"github.com/go-grace/grace/internal/wiring"
)

// stopDelay is the wait of a service that stops.
type stopDelay struct {
	once  sync.Once
	ended chan struct{} // closed when there is no time for it
}

func (d *stopDelay) end() { d.once.Do(func() { close(d.ended) }) }

// stop begins to stop the service in this process, unless that has begun. One that has served goes
// on for the stop delay before it drains.
func (m *Manager) stop(ctx context.Context) {
	first, served := m.life.beginShutdown()
	if !first {
		return
	}
	delayed := served && m.opts.stopDelay > 0 && !wait.IsClosed(m.delay.ended)
	if delayed {
		m.emit(ctx, graceevent.StopDelayed{Delay: m.opts.stopDelay})
	}
	go func() { // ends with the drain, for which Wait waits
		timeout := m.opts.drainTimeout
		if delayed {
			timeout -= m.awaitStopDelay()
		}
		m.life.shutDown()
		m.drain(nil, timeout)
	}()
}

// awaitStopDelay returns how long the delay was.
func (m *Manager) awaitStopDelay() time.Duration {
	start := time.Now()
	wait.Closed(m.draining, m.delay.ended, m.opts.stopDelay)
	return time.Since(start)
}

// stopNow stops the service without a delay: it cannot go on, or another process serves.
func (m *Manager) stopNow() {
	m.delay.end()
	m.stop(m.draining)
}

// pause returns after a while, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drain finishes the work of this process. successor is nil if there is none.
func (m *Manager) drain(successor *child, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(m.draining, timeout)
	defer cancel()
	if m.parent != nil {
		m.parent.refuse(m.life.whyNot())
	}
	if successor != nil {
		m.watching.Go(func() { m.awaitLeave(successor.link) }) // ends with the drain
		m.watching.Go(func() { successor.sender.Run(m.draining) })
	}
	m.emit(ctx, graceevent.DrainStarted{Upgraded: successor != nil, Timeout: timeout})
	start := time.Now()
	end := m.finishWork(ctx)
	end.Duration = time.Since(start)
	if successor != nil {
		end.Transferred = successor.sender.Taken()
	}
	m.emit(ctx, end)
	if successor != nil {
		successor.farewell(end)
	}
	m.endDrain(successor)
	m.life.finish(end.Err)
}

// finishWork runs the hooks, closes everything, and waits for what is in progress.
func (m *Manager) finishWork(ctx context.Context) graceevent.DrainFinished {
	listeners := m.sockets.ListenerIDs()
	err := errors.Join(m.hooks.drain(ctx), m.sockets.CloseListeners())
	m.handlers.Close()
	m.awaitConnections(ctx, listeners)
	err = errors.Join(err, m.sockets.Close(), m.pidFile.Remove())
	m.outgoing.Forget()
	m.inherited.Close(m.life.stopped())
	m.gate.Release()                                    // all sockets are closed
	err = errors.Join(err, m.work.Wait(ctx, hookGrace)) // some find out only now
	_ = m.handling.Wait(ctx, hookGrace)                 // what they have open is cut
	return graceevent.DrainFinished{Cut: countCut(listeners), Err: err}
}

// endDrain ends everything that belongs to the drain.
func (m *Manager) endDrain(successor *child) {
	m.hurry(nil)
	m.older.Close()
	m.watching.Wait()
	if successor != nil {
		successor.sender.Close()
	}
	if m.parent != nil {
		m.parent.Close()
	}
	m.closeReceivers()
	m.signals.ReleaseShutdown()
	m.release()
}

// closeReceivers closes the receivers of a process that has never served. The others have ended.
func (m *Manager) closeReceivers() {
	for _, r := range m.receivers {
		r.Close()
	}
}

// awaitLeave ends the drain when a newer generation asks for it. It does not listen to one that
// says much else.
func (m *Manager) awaitLeave(l wiring.Link) {
	for range wiring.MaxIgnored {
		msg, err := wiring.Hear(m.draining, l)
		if err != nil {
			return // the link has ended, or the drain
		}
		if leave, ok := msg.(*handoff.Leave); ok {
			m.hurry(fmt.Errorf("a newer generation ends the drain: %s",
				handoff.Printable(leave.Reason)))
			return
		}
	}
}

// Two looks at the open connections are so far apart, or ten times as far as the first has taken.
const (
	minLook = 5 * time.Millisecond
	maxLook = 100 * time.Millisecond
)

// awaitConnections waits until no connection is open that was accepted from the listeners. The
// kernel is asked about them, which costs no wrapper around each.
func (m *Manager) awaitConnections(ctx context.Context, listeners []fds.ListenerID) {
	if m.opts.leaveConnections {
		return
	}
	for wait := minLook; ctx.Err() == nil; wait = min(2*wait, maxLook) {
		start := time.Now()
		if len(countCut(listeners)) == 0 {
			return
		}
		pause(ctx, max(wait, 10*time.Since(start)))
	}
}

// countCut counts the connections that are still open.
func countCut(listeners []fds.ListenerID) []graceevent.Cut {
	var cut []graceevent.Cut
	for i, n := range fds.Connections(listeners) {
		if n > 0 {
			cut = append(cut, graceevent.Cut{Socket: listeners[i].String(), Connections: n})
		}
	}
	return cut
}
