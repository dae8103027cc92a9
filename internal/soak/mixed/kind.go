package mixed

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// kind is all clients of one kind.
type kind struct {
	name          string
	clients       int
	patience      time.Duration
	create        func(*kind, identity) client
	serving       *atomic.Int64
	newGeneration chan<- struct{}

	mu   sync.Mutex
	seen tally
}

// maxThink is the longest pause of a client between two requests.
const maxThink = 10 * time.Millisecond

// run makes requests until the context ends, and finishes the last one.
func (k *kind) run(ctx context.Context, id identity) {
	c := k.create(k, id)
	defer c.hangUp()
	for n := 1; ctx.Err() == nil; n++ {
		begin := time.Now()
		generation, err := c.request(n)
		if err != nil {
			err = fmt.Errorf("%s: %w", id.id(n), err)
		}
		k.note(time.Since(begin), generation, err)
		time.Sleep(time.Duration(id.random.Int64N(int64(maxThink))))
	}
}

// note records a request.
func (k *kind) note(took time.Duration, generation int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen.requests++
	if err != nil {
		k.seen.failed++
		if len(k.seen.failures) < maxFailures {
			k.seen.failures = append(k.seen.failures, err)
		}
		return
	}
	k.seen.slowest = max(k.seen.slowest, took)
	k.seen.outlived = max(k.seen.outlived, int(k.serving.Load())-generation)
	if generation <= k.seen.newest {
		return
	}
	k.seen.newest = generation
	select {
	case k.newGeneration <- struct{}{}:
	default:
	}
}

func (k *kind) tally() tally {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen
}

// dial opens a connection for a client. It does not retry.
func (k *kind) dial(network, addr string) (net.Conn, error) {
	c, err := net.DialTimeout(network, addr, k.patience)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen.dials++
	return c, nil
}

// tally counts what clients saw.
type tally struct {
	requests int
	failed   int
	dials    int
	slowest  time.Duration // answer
	newest   int           // generation that answered
	outlived int           // most upgrades between a request and the end of its answer
	failures []error       // the first maxFailures of each kind
}

// maxFailures bounds the errors kept of each kind, because a soak may run for days.
const maxFailures = 5

func sum(kinds []*kind) (total tally) {
	for _, k := range kinds {
		total = total.plus(k.tally())
	}
	return total
}

func (t tally) plus(other tally) tally {
	return tally{
		requests: t.requests + other.requests,
		failed:   t.failed + other.failed,
		dials:    t.dials + other.dials,
		slowest:  max(t.slowest, other.slowest),
		newest:   max(t.newest, other.newest),
		outlived: max(t.outlived, other.outlived),
		failures: slices.Concat(t.failures, other.failures),
	}
}
