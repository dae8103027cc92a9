package mixed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clientPatience is how long a client waits for a connection, and for each part of an answer. It is
// long because a slow machine is not a failure, and a lost answer never comes.
const clientPatience = time.Minute

// load is all clients, and what they have seen so far.
type load struct {
	kinds   []*kind
	streams *kind // the last of kinds
	seed    uint64
	rounds  uint64       // how often it was started
	serving atomic.Int64 // the generation, as far as the driver knows

	// newGeneration has a value when a client has an answer of a generation that is new to it.
	newGeneration chan struct{}

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// client makes requests, and never retries one.
type client interface {
	// request makes the nth request, checks the answer, and returns the generation that answered.
	request(n int) (generation int, err error)
	// hangUp is called after the last request.
	hangUp()
}

// newLoad prepares clients. addrs has the addresses by the names of the sockets.
func newLoad(set settings, addrs map[string]string) *load {
	l := &load{seed: set.seed, newGeneration: make(chan struct{}, 1)}
	tcp, unix, udp, stream := addrs[tcpLines], addrs[unixLines], addrs[udpEcho], addrs[tcpStream]
	l.add("tcp keep-alive", set.clients, lineClients("tcp", tcp, true))
	l.add("tcp per request", set.clients, lineClients("tcp", tcp, false))
	l.add("unix keep-alive", set.clients, lineClients("unix", unix, true))
	l.add("unix per request", set.clients, lineClients("unix", unix, false))
	l.add("udp", set.clients, func(k *kind, id identity) client {
		return &packetClient{identity: id, kind: k, addr: udp}
	})
	l.streams = l.add("stream", set.streams, func(k *kind, id identity) client {
		return &streamClient{identity: id, kind: k, addr: stream, longest: set.stream}
	})
	return l
}

func (l *load) add(name string, clients int, create func(*kind, identity) client) *kind {
	k := &kind{
		name: name, clients: clients, patience: clientPatience, create: create,
		serving: &l.serving, newGeneration: l.newGeneration,
	}
	l.kinds = append(l.kinds, k)
	return k
}

func lineClients(network, addr string, keepAlive bool) func(*kind, identity) client {
	return func(k *kind, id identity) client {
		return &lineClient{
			identity: id, kind: k, network: network, addr: addr, keepAlive: keepAlive,
		}
	}
}

// identity is the name of a client, and its source of random numbers.
type identity struct {
	name   string
	random *rand.Rand
}

// id returns the id of the nth request.
func (i identity) id(n int) string { return fmt.Sprintf("%s-%d", i.name, n) }

// compose returns the nth request for an echo. Requests differ in length, and one in ten is slow to
// answer.
func (i identity) compose(n int) string {
	text := i.id(n) + " " + strings.Repeat("x", i.random.IntN(1000))
	if i.random.IntN(10) == 0 {
		text += slowMark
	}
	return text
}

// start starts the clients.
func (l *load) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.rounds++
	for i, k := range l.kinds {
		for j := range k.clients {
			source := rand.NewPCG(l.seed, l.rounds<<32|uint64(i)<<16|uint64(j))
			id := identity{fmt.Sprintf("%s-%d-%d", k.name, j, l.rounds), rand.New(source)}
			l.running.Go(func() { k.run(ctx, id) }) // ends with stop
		}
	}
}

// stop waits until the clients have finished their requests.
func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

// answeredBy reports whether clients of each kind have an answer of the generation, or of a later
// one. It ignores streams, which begin too seldom.
func (l *load) answeredBy(generation int) bool {
	for _, k := range l.kinds {
		if k != l.streams && k.tally().newest < generation {
			return false
		}
	}
	return true
}
