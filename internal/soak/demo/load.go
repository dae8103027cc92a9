package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	keepAliveClients  = 32
	connectingClients = 16 // which open a connection for each request
)

// load is the clients of a server.
type load struct {
	clients []*client
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// startLoad begins to send requests to an address.
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

// stop ends the load, and tells how it went.
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

// tally is what clients have seen. The zero value is ready to use.
type tally struct {
	requests   int
	reconnects int             // of keep-alive clients
	latencies  []time.Duration // of answered requests
	failures   map[string]int  // by kind
	pids       map[string]bool // who has answered
}

func (t *tally) add(took time.Duration, pid string, err error) {
	if t.pids == nil {
		t.failures, t.pids = make(map[string]int), make(map[string]bool)
	}
	t.requests++
	if err != nil {
		t.failures[kind(err)]++
		return
	}
	t.latencies = append(t.latencies, took)
	t.pids[pid] = true
}

func (t *tally) merge(other tally) {
	if t.pids == nil {
		t.failures, t.pids = make(map[string]int), make(map[string]bool)
	}
	t.requests += other.requests
	t.latencies = append(t.latencies, other.latencies...)
	for kind, n := range other.failures {
		t.failures[kind] += n
	}
	for pid := range other.pids {
		t.pids[pid] = true
	}
}

func (t *tally) failed() int {
	n := 0
	for _, count := range t.failures {
		n += count
	}
	return n
}

// latency gives the latency that a part of the answers did not exceed; they must be sorted.
func (t *tally) latency(part float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[int(part*float64(len(t.latencies)-1))]
}
