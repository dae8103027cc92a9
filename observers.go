package grace

import (
	"context"
	"fmt"
	"os"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/wait"
)

// tell tells all observers, one after another. One that fails does not keep the others from it.
func (m *Manager) tell(ctx context.Context, r graceevent.Record) {
	for i, o := range m.opts.observers {
		if err := observe(ctx, o, r); err != nil {
			m.observerFailed(ctx, i, r, err)
		}
	}
}

// observe tells one observer.
func observe(ctx context.Context, o graceevent.Observer, r graceevent.Record) error {
	return wait.Do(func() error {
		return observing(func() error {
			o.Observe(ctx, r)
			return nil
		})
	})
}

// observerFailed tells the other observers, or else the standard error, where the runtime would
// have printed the panic.
func (m *Manager) observerFailed(ctx context.Context, which int, r graceevent.Record, err error) {
	failed := graceevent.ObserverFailed{Event: r.Event, Err: err}
	r.Event = failed
	told := false
	for i, o := range m.opts.observers {
		if i != which && observe(ctx, o, r) == nil {
			told = true
		}
	}
	if !told {
		fmt.Fprintf(os.Stderr, "grace: an observer has failed at %T: %v\n", failed.Event, err)
	}
}
