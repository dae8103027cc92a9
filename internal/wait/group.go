package wait

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Group counts functions that run, such as those of Manager.Go, and keeps their errors. The zero
// value counts none.
type Group struct {
	mu      sync.Mutex
	running int
	errs    []error
	ended   chan struct{} // closed when the last one ends; nil while nobody waits
}

// Begin counts a function that begins.
func (g *Group) Begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
}

// End counts the end of a function, and keeps its error.
func (g *Group) End(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.errs = append(g.errs, err)
	}
	if g.running--; g.running == 0 && g.ended != nil {
		close(g.ended)
		g.ended = nil
	}
}

// Wait waits until no function runs, and returns the errors of all that have ended. When ctx has
// ended, the others have a grace period.
func (g *Group) Wait(ctx context.Context, grace time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running > 0 && g.ended == nil {
		g.ended = make(chan struct{})
	}
	if !g.await(ctx, grace, g.ended) {
		err := fmt.Errorf("%d functions of Manager.Go have not returned: %w",
			g.running, context.Cause(ctx))
		return errors.Join(append(g.errs, err)...)
	}
	return errors.Join(g.errs...)
}

// await releases mu until the channel is closed. It reports false if time has run out first.
func (g *Group) await(ctx context.Context, grace time.Duration, ended <-chan struct{}) bool {
	if ended == nil {
		return true
	}
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return Closed(context.Background(), ended, grace)
	}
}
