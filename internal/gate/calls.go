package gate

import (
	"math"
	"sync"
	"sync/atomic"
)

// calls counts the calls that are in the system for one socket, until it lets no more begin.
type calls struct {
	count atomic.Int64  // of the calls, plus stopMark after stop
	ended chan struct{} // closed by the last call that leaves after stop, or by stop
	once  sync.Once     // closes it: a begin in vain may look like one more last call
}

// stopMark is so low that the count stays negative, whatever is added to it.
const stopMark = math.MinInt64

func newCalls() *calls { return &calls{ended: make(chan struct{})} }

// begin counts a call, to which end belongs. It reports false if no call may begin.
func (c *calls) begin() bool {
	if c.count.Add(1) > 0 {
		return true
	}
	c.end()
	return false
}

func (c *calls) end() {
	if c.count.Add(-1) == stopMark {
		c.once.Do(func() { close(c.ended) })
	}
}

// stop lets no more calls begin. It is called once.
func (c *calls) stop() {
	c.count.Add(stopMark + 1) // as one of the calls, so that one of them is the last
	c.end()
}

func (c *calls) isStopped() bool { return c.count.Load() < 0 }
