package grace

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/wait"
)

// emit tells all observers of an event, one after another. One that fails does not keep the others
// from it.
func (m *Manager) emit(ctx context.Context, e graceevent.Event) { m.tell(ctx, e, observeApart) }

// emitHere is emit in a goroutine of the application, which an observer may end by
// [runtime.Goexit]. It needs no goroutine of its own, which counts where thousands of sockets are
// opened.
func (m *Manager) emitHere(ctx context.Context, e graceevent.Event) { m.tell(ctx, e, observe) }

func (m *Manager) tell(
	ctx context.Context, e graceevent.Event,
	observe func(context.Context, graceevent.Observer, graceevent.Record) error,
) {
	if len(m.opts.observers) == 0 {
		return
	}
	r := graceevent.Record{
		Time: time.Now(), Generation: m.generation, PID: os.Getpid(), Role: m.role(),
		Handoff: m.handoffID(), Event: e,
	}
	for i, o := range m.opts.observers {
		if err := observe(ctx, o, r); err != nil {
			m.observerFailed(ctx, i, r, err)
		}
	}
}

// observe tells one observer.
func observe(ctx context.Context, o graceevent.Observer, r graceevent.Record) error {
	return observing(func() error {
		o.Observe(ctx, r)
		return nil
	})
}

// observeApart tells one observer in a goroutine of its own, which it may end.
func observeApart(ctx context.Context, o graceevent.Observer, r graceevent.Record) error {
	return wait.Do(func() error { return observe(ctx, o, r) })
}

// observerFailed tells the other observers, or else the standard error, where the runtime would
// have printed the panic.
func (m *Manager) observerFailed(ctx context.Context, which int, r graceevent.Record, err error) {
	failed := graceevent.ObserverFailed{Event: r.Event, Err: err}
	r.Event = failed
	told := false
	for i, o := range m.opts.observers {
		if i != which && observeApart(ctx, o, r) == nil {
			told = true
		}
	}
	if !told {
		fmt.Fprintf(os.Stderr, "grace: an observer has failed at %T: %v\n", failed.Event, err)
	}
}
