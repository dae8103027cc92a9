package grace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Run serves until the end: it calls Ready, then upgrades on SIGHUP and SIGUSR2 (see [WithUpgradeSignals]), and returns when
// this process is drained. It drains after an upgrade, on SIGTERM and SIGINT (see [WithShutdownSignals]), and when the context
// ends. A signal that came since [New] counts. An upgrade that fails is told to the observers, and Run goes on.
//
// Run returns nil after a clean end, the error of Ready, or those of the OnDrain hooks and of [Manager.Go]. A second shutdown
// signal makes it return at once, with [ErrForced]. The program should exit when Run returns.
func (m *Manager) Run(ctx context.Context) error {
	m.signals.run()
	var upgrades sync.WaitGroup
	err := m.runUntilDone(ctx, &upgrades)
	if !errors.Is(err, ErrForced) {
		upgrades.Wait()
	}
	return err
}

func (m *Manager) runUntilDone(ctx context.Context, upgrades *sync.WaitGroup) error {
	if sig, err := m.readyOrSignal(ctx); err != nil || sig != nil {
		return errors.Join(err, m.end(sig))
	}
	for {
		select {
		case sig := <-m.signals.upgrade:
			m.emit(SignalReceived{sig})
			upgrades.Go(func() { m.upgradeOnSignal(ctx) }) // ends with Upgrade
		case sig := <-m.signals.shutdown:
			return m.end(sig)
		case <-ctx.Done():
			return m.end(nil)
		case <-m.Done():
			return m.end(nil)
		}
	}
}

// readyOrSignal calls Ready, and gives it up on a shutdown signal: a successor that is to stop must not be committed.
func (m *Manager) readyOrSignal(ctx context.Context) (os.Signal, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	go func() { result <- m.Ready(ctx) }() // ends soon after ctx
	select {
	case err := <-result:
		return nil, err
	case sig := <-m.signals.shutdown:
		cancel(ErrShutdown)
		<-result
		return sig, nil
	case <-m.signals.forced: // reached only if both signals are there already
		return nil, ErrForced
	}
}

// end shuts down, or waits for the drain that goes on already, until a signal forces the end.
func (m *Manager) end(sig os.Signal) error {
	if sig != nil {
		m.emit(SignalReceived{sig})
	}
	result := make(chan error, 1)
	go func() { result <- m.Shutdown(context.Background()) }() // ends with the drain
	for {
		select {
		case err := <-result:
			return err
		case sig := <-m.signals.shutdown: // the first one, while this process drains after an upgrade: it is about to end anyway
			m.emit(SignalReceived{sig})
		case sig := <-m.signals.upgrade:
			m.emit(SignalReceived{sig})
			m.emit(Warned{errors.New("upgrade signal ignored: this process drains")})
		case <-m.signals.forced:
			m.hurry(ErrForced)
			return errors.Join(ErrForced, m.pidFile.remove())
		}
	}
}

// upgradeOnSignal upgrades unless an upgrade runs already. The outcome of an upgrade that has begun is an event of its own.
func (m *Manager) upgradeOnSignal(ctx context.Context) {
	var failed *UpgradeError
	if err := m.Upgrade(ctx); err != nil && !errors.As(err, &failed) {
		m.emit(Warned{fmt.Errorf("upgrade signal ignored: %w", err)})
	}
}
