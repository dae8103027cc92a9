package gracehttp

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// manyTransferred is how many connections must have left for their memory to be worth a
	// collection: http.Server has about 20 KB for each.
	manyTransferred = 1000
	// freeDelay is how long after they have left the server must still drain.
	freeDelay = time.Second
)

// startFreeing frees the memory of the connections that have left, if that is worth it. A process
// that drains allocates too little to start the collector, while its successor needs memory for the
// same connections. A process that is about to exit need not collect anything. stop is called at
// the end of the drain.
func (t *transferrer) startFreeing(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var freeing sync.WaitGroup
	freeing.Go(func() { // ends with ctx
		poll(ctx, func() bool { return len(t.awake) == 0 })
		if t.transferred.Load() >= manyTransferred && pause(ctx, freeDelay) {
			t.freeMemory()
		}
	})
	return func() {
		cancel()
		freeing.Wait()
	}
}

// freeMemory returns unused memory to the system. One collection is not enough: it leaves what
// net/http has in pools.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}
