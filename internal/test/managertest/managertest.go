// Package managertest makes Managers for tests. A process can have only one Manager of its own;
// those of this package are exempt.
package managertest

import (
	"context"
	"testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/wiring"
)

// New returns a Manager that claims no signals. It is shut down at the end of the test, if the test
// has not done that.
func New(t testing.TB, opts ...grace.Option) *grace.Manager {
	t.Helper()
	wires := wiring.Processes()
	wires.Container = nil // the end of the tests ends nothing else
	wired := wiring.Option.(func(wiring.Wiring) grace.Option)(wires)
	m, err := grace.New(append([]grace.Option{
		wired, grace.WithUpgradeSignals(), grace.WithShutdownSignals(),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.Shutdown(context.Background()) // what it returns matters to tests that call it
	})
	return m
}
