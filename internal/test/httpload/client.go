package httpload

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// identity is who a client is, and what it has seen.
type identity struct {
	config   Config
	target   Target
	kind     kind
	kindName string
	name     string // no other has it

	mu    sync.Mutex
	sent  int
	tally Tally
}

// run makes requests until the context ends; the last one is finished.
func (c *identity) run(ctx context.Context) {
	if c.kind.agent != nil {
		newAgentClient(c).run(ctx)
		return
	}
	(&rawClient{identity: c}).run(ctx)
}

// failurePause is for clients that have failed: of a service that refuses all, they would eat the
// machine up.
const failurePause = 10 * time.Millisecond

// pause lets time pass between two requests.
func (c *identity) pause(ctx context.Context, err error) {
	d := c.kind.rest(c.config)
	if err != nil {
		d = max(d, failurePause)
	}
	pause(ctx, d)
}

func pause(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// compose makes the next request that another kind of clients would make.
func (c *identity) compose(k kind) request {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.sent
	c.sent++
	return k.compose(c.config, fmt.Sprint(c.name, ".", n), n)
}

// count is called for each request.
func (c *identity) count(r request, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Requests++
	if r.handled() {
		c.tally.Handled++
	}
	switch {
	case err != nil:
		c.tally.Failed++
		if len(c.tally.Failures) < fewFailures {
			c.tally.Failures = append(c.tally.Failures, fmt.Errorf("%s: %w", r.id, err))
		}
	case !r.kind.leisurely():
		c.tally.Latencies.add(took)
	}
}

func (c *identity) countResent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Resent++
}

// countDial counts a connection that is used for the first time, and whether it is because the one
// before has ended.
func (c *identity) countDial(ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Dials++
	switch again := &c.tally.Reconnects; {
	case c.tally.Dials == 1, !ended, !c.kind.keeps(), c.target.Wrapped:
	case c.kind.agent != nil && c.kind.agent.http2:
		again.HTTP2++
	case c.target.TLS != nil:
		again.TLS++
	default:
		again.HTTP1++
	}
}

// seen is what it has seen so far.
func (c *identity) seen() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	t.Failures = slices.Clone(t.Failures)
	return t
}
