package grace

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/signals"
)

// Run serves until the end: it gets ready as by [Manager.Ready], then upgrades on SIGHUP and
// SIGUSR2 (see [WithUpgradeSignals]), and returns when this process is drained. It drains after an
// upgrade, on SIGTERM and SIGINT (see [WithShutdownSignals]), and when the context ends, which may
// be one of [os/signal.NotifyContext]. A signal that came since [New] counts. A failed upgrade is
// reported to the observers, and Run continues.
//
// Run returns nil after a clean end, the error of Ready, or those of the OnDrain hooks and of
// [Manager.Go]. Connections that were cut at the drain timeout are not an error: the operator has
// set the timeout, and the observers are told how many there were. A second shutdown signal makes
// Run return at once, with [ErrForced]. The program should exit when Run returns.
func (m *Manager) Run(ctx context.Context) error {
	if inWork() {
		return ErrCallback
	}
	m.signals.Listen()
	var upgrades sync.WaitGroup
	err := m.runUntilDone(ctx, &upgrades)
	if !errors.Is(err, ErrForced) {
		upgrades.Wait()
	}
	return err
}

func (m *Manager) runUntilDone(ctx context.Context, upgrades *sync.WaitGroup) error {
	if sig, err := m.readyOrSignal(ctx); err != nil || sig != nil {
		return errors.Join(err, m.end(ctx, sig))
	}
	for {
		select {
		case sig := <-m.signals.Upgrade:
			m.emit(ctx, graceevent.SignalReceived{Signal: sig})
			switch m.signals.Hangup(sig) {
			case signals.TerminalClosed:
				m.emit(ctx, graceevent.TerminalClosed{})
				return m.end(ctx, nil)
			case signals.LeaderExited:
				m.emit(ctx, graceevent.SignalIgnored{Signal: sig, Err: errLeaderExited})
			default:
				upgrades.Go(func() { m.upgradeOnSignal(ctx, sig) }) // ends with Upgrade
			}
		case sig := <-m.signals.Shutdown:
			return m.end(ctx, sig)
		case <-ctx.Done():
			return m.end(ctx, nil)
		case <-m.Done():
			return m.end(ctx, nil)
		}
	}
}

// errLeaderExited is why a SIGHUP is not a request.
var errLeaderExited = errors.New("it comes from the kernel:" +
	" the terminal, or the process that led its session, is gone")

// readyOrSignal gets ready, and gives up on a shutdown signal: a successor that is to stop must not
// be committed.
func (m *Manager) readyOrSignal(ctx context.Context) (os.Signal, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	go func() { result <- m.ready(ctx) }() // ends soon after ctx
	select {
	case err := <-result:
		return nil, err
	case sig := <-m.signals.Shutdown:
		cancel(ErrShutdown)
		<-result
		return sig, nil
	case <-m.signals.Forced: // reached only if both signals are there already
		return nil, ErrForced
	}
}

// end shuts down, or waits for the drain that goes on already, until a signal forces the end.
func (m *Manager) end(ctx context.Context, sig os.Signal) error {
	ctx = context.WithoutCancel(ctx)
	if sig != nil {
		m.emit(ctx, graceevent.SignalReceived{Signal: sig})
	}
	result := make(chan error, 1)
	go func() { result <- m.Shutdown(ctx) }() // ends with the drain
	for {
		select {
		case err := <-result:
			return err
		case sig := <-m.signals.Shutdown: // the first one, in the drain after an upgrade
			m.emit(ctx, graceevent.SignalReceived{Signal: sig})
		case sig := <-m.signals.Upgrade:
			m.emit(ctx, graceevent.SignalIgnored{Signal: sig, Err: m.life.stopped()})
		case <-m.signals.Forced:
			m.hurry(ErrForced)
			return errors.Join(ErrForced, m.pidFile.Remove())
		}
	}
}

// upgradeOnSignal upgrades unless an upgrade runs already. The outcome of an upgrade that has begun
// is an event of its own.
func (m *Manager) upgradeOnSignal(ctx context.Context, sig os.Signal) {
	var failed *UpgradeError
	if err := m.Upgrade(ctx); err != nil && !errors.As(err, &failed) {
		m.emit(ctx, graceevent.SignalIgnored{Signal: sig, Err: err})
	}
}
