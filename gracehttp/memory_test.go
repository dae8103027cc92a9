package gracehttp

import (
	"testing"
	"testing/synctest"
	"time"
)

// The memory of connections that have left is freed if they were many, and the server drains for
// some more time.
func TestMemoryOfTransferredConnections(t *testing.T) {
	for name, c := range map[string]struct {
		left  int64
		awake int           // connections that are still leaving, for a second
		drain time.Duration // after they have left
		freed bool
	}{
		"long drain":                   {manyTransferred, 0, 2 * freeDelay, true},
		"long drain after some time":   {manyTransferred, 2, 2 * freeDelay, true},
		"few connections":              {manyTransferred - 1, 0, 2 * freeDelay, false},
		"end of the drain":             {manyTransferred, 0, freeDelay / 2, false},
		"end of the drain before that": {manyTransferred, 2, freeDelay / 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				freed := 0
				tr := transferrer{
					awake: make(chan struct{}, maxAwake), freeMemory: func() { freed++ },
				}
				tr.transferred.Store(c.left)
				for range c.awake {
					tr.awake <- struct{}{}
				}
				stop := tr.startFreeing(t.Context())
				if c.awake > 0 {
					time.Sleep(time.Second)
				}
				for range c.awake {
					tr.freeSlot()
				}
				time.Sleep(c.drain)
				stop()
				if freed > 1 || freed == 1 != c.freed {
					t.Errorf("freed %d times", freed)
				}
			})
		})
	}
}
