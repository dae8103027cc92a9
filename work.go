package grace

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Go calls f in a goroutine of its own, which is a part of the service, such as the loop of a server. If f returns an error, this
// process cannot serve:
//
//   - In a successor whose handoff is not committed yet, the upgrade fails with that reason, as by [Manager.Fail]: the old process
//     serves on, and Ready returns the error.
//   - In any other process the service ends, as by [Manager.Shutdown], unless an upgrade that is under way succeeds. The error is
//     part of what Run, Shutdown and Wait return.
//
// When f returns nil, nothing happens. The drain waits for f, after the OnDrain hooks have run and all sockets are closed, until
// its deadline.
func (m *Manager) Go(f func() error) {
	m.work.begin()
	go func() { m.workEnded(f()) }() // ends with f; the drain waits for that
}

// workEnded does what follows from the end of a function of Go.
func (m *Manager) workEnded(err error) {
	if err == nil || m.parent != nil && m.Fail(err) == nil {
		m.work.end(nil) // or Ready tells why
		return
	}
	m.emit(Warned{fmt.Errorf("a part of the service has failed: %w", err)})
	m.work.end(err)
	m.life.awaitUpgrade() // a successor that comes up is better than no service
	if m.life.beginShutdown() {
		go m.drain(false) // ends with the drain, for which Wait waits
	}
}

// work counts the functions of Go, and has their errors.
type work struct {
	mu      sync.Mutex
	running int
	errs    []error
	ended   chan struct{} // closed when the last one ends; nil while nobody waits
}

func (w *work) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running++
}

func (w *work) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errs = append(w.errs, err)
	}
	if w.running--; w.running == 0 && w.ended != nil {
		close(w.ended)
		w.ended = nil
	}
}

// wait waits until no function runs, and returns the errors of all.
func (w *work) wait(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running > 0 && w.ended == nil {
		w.ended = make(chan struct{})
	}
	if !w.await(ctx, w.ended) {
		return errors.Join(append(w.errs, fmt.Errorf("%d functions of Go have not returned: %w", w.running, context.Cause(ctx)))...)
	}
	return errors.Join(w.errs...)
}

// await releases mu until the channel is closed. It reports false if the context has ended first.
func (w *work) await(ctx context.Context, ended <-chan struct{}) bool {
	if ended == nil {
		return true
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}
