package httpload

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Load is clients that run. It is safe for use by several goroutines.
type Load struct {
	cancel  context.CancelFunc
	limit   *time.Timer
	running sync.WaitGroup
	clients []*identity
	stop    func() Result // only the first call does
}

// Result is what all clients have seen.
type Result struct {
	Tally
	Kinds map[string]Tally // the same by kinds
}

// Plus is what the clients of two loads have seen.
func (r Result) Plus(other Result) Result {
	sum := Result{Tally: r.Tally, Kinds: maps.Clone(other.Kinds)}
	sum.join(&other.Tally)
	if sum.Kinds == nil {
		sum.Kinds = make(map[string]Tally, len(r.Kinds))
	}
	for kind, seen := range r.Kinds {
		of := sum.Kinds[kind]
		seen.join(&of)
		sum.Kinds[kind] = seen
	}
	return sum
}

// started counts loads: a service may have several, and ids must differ.
var started atomic.Int64

// Start starts clients, which run until Stop, or for [Config.Limit]. It returns an error if the
// configuration is wrong.
func Start(config Config) (*Load, error) {
	c, err := config.complete()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, clients: clientsOf(c)}
	l.stop = sync.OnceValue(func() Result { return l.end(c.Limit) })
	l.limit = time.AfterFunc(c.Limit, cancel)
	for _, client := range l.clients {
		l.running.Go(func() { client.run(ctx) }) // ends with the context
	}
	return l, nil
}

func clientsOf(c Config) []*identity {
	var clients []*identity
	load := started.Add(1)
	for i, target := range c.Targets {
		for _, kind := range c.Kinds {
			if !target.serves(kind) {
				continue
			}
			for j := range c.Copies {
				clients = append(clients, &identity{
					config: c, target: target, kind: kinds[kind], kindName: kind,
					name: fmt.Sprintf("%s.%s%d.%d.%d", kind, target, i, load, j),
				})
			}
		}
	}
	return clients
}

// Stop lets the clients finish their last requests, and tells what they have seen. Later calls tell
// the same.
func (l *Load) Stop() Result { return l.stop() }

func (l *Load) end(limit time.Duration) Result {
	ended := !l.limit.Stop()
	l.cancel()
	l.running.Wait()
	r := l.Result()
	if ended {
		r.Failed++
		err := fmt.Errorf("the load has ended by itself after %v", limit)
		r.Failures = append([]error{err}, r.Failures...)
	}
	return r
}

// Result tells what the clients have seen so far.
func (l *Load) Result() Result {
	byKind := make(map[string]*Tally)
	for _, client := range l.clients {
		of := byKind[client.kindName]
		if of == nil {
			of = &Tally{}
			byKind[client.kindName] = of
		}
		seen := client.seen()
		of.join(&seen)
	}
	r := Result{Kinds: make(map[string]Tally, len(byKind))}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		of := *byKind[kind]
		r.Kinds[kind] = of
		of.Failures = of.Failures[:min(1, len(of.Failures))] // so that more kinds are heard
		r.join(&of)
	}
	return r
}
