package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	keepAliveClients  = 32
	connectingClients = 16 // each opens a connection for each request
)

// load is the clients of a server.
type load struct {
	clients []*client
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// startLoad starts clients that send requests to addr.
func startLoad(addr string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for i := range keepAliveClients + connectingClients {
		c := &client{
			name: fmt.Sprintf("client%d", i), addr: addr, keepAlive: i < keepAliveClients,
			think: 2500 * time.Microsecond, patience: 5 * time.Second,
		}
		if !c.keepAlive {
			c.think *= 2
		}
		l.clients = append(l.clients, c)
		l.running.Go(func() { c.run(ctx) }) // ends with stop
	}
	return l
}

// stop ends the load, and returns the tally of all clients.
func (l *load) stop() tally {
	l.cancel()
	l.running.Wait()
	var total tally
	for _, c := range l.clients {
		total.merge(c.tally)
		if c.keepAlive {
			total.reconnects += max(0, c.dials-1)
		}
	}
	slices.Sort(total.latencies)
	return total
}

// tally counts what clients saw. The zero value is ready to use.
type tally struct {
	requests   int
	reconnects int             // of keep-alive clients
	latencies  []time.Duration // of answered requests
	failures   map[string]int  // by kind
	pids       map[string]bool // of the processes that answered
}

func (t *tally) add(took time.Duration, pid string, err error) {
	t.init()
	t.requests++
	if err != nil {
		t.failures[kind(err)]++
		return
	}
	t.latencies = append(t.latencies, took)
	t.pids[pid] = true
}

func (t *tally) init() {
	if t.pids == nil {
		t.failures, t.pids = make(map[string]int), make(map[string]bool)
	}
}

func (t *tally) merge(other tally) {
	t.init()
	t.requests += other.requests
	t.latencies = append(t.latencies, other.latencies...)
	for kind, n := range other.failures {
		t.failures[kind] += n
	}
	maps.Copy(t.pids, other.pids)
}

func (t *tally) failed() int {
	n := 0
	for _, count := range t.failures {
		n += count
	}
	return n
}

// latency returns a quantile of the latencies, which must be sorted.
func (t *tally) latency(quantile float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[int(quantile*float64(len(t.latencies)-1))]
}
