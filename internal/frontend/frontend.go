// Package frontend lets an adapter drain its servers after those that may still call them: HTTP
// servers, whose handlers may be clients of other servers of the process.
package frontend

import (
	"context"
	"sync"
)

// group is the front ends of a Manager that have not drained.
type group struct {
	serving int
	drained chan struct{} // closed when there are none
}

var (
	mu     sync.Mutex
	groups = make(map[any]*group) // by their Managers
)

// Started counts a front end of a Manager. It calls drained at the end of its drain, once.
func Started(manager any) (drained func()) {
	mu.Lock()
	defer mu.Unlock()
	g := groups[manager]
	if g == nil {
		g = &group{drained: make(chan struct{})}
		groups[manager] = g
	}
	g.serving++
	return func() { end(manager) }
}

func end(manager any) {
	mu.Lock()
	defer mu.Unlock()
	g := groups[manager]
	if g.serving--; g.serving == 0 {
		close(g.drained)
		delete(groups, manager)
	}
}

// Await waits until all front ends of a Manager have drained, or the context ends.
func Await(ctx context.Context, manager any) {
	mu.Lock()
	g := groups[manager]
	mu.Unlock()
	if g == nil {
		return
	}
	select {
	case <-g.drained:
	case <-ctx.Done():
	}
}
