package mixed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clientPatience is how long a client waits: for a connection, and for each part of an answer. What is lost never comes; what
// comes late is the machine's doing.
const clientPatience = time.Minute

// load is all clients, with what they have seen so far.
type load struct {
	kinds   []*kind
	streams *kind // the last of them
	seed    uint64
	rounds  uint64        // how often it was started
	serving atomic.Int64  // the generation, as the driver knows it
	news    chan struct{} // has a word in it when another generation has answered

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// client makes requests, and none of them twice.
type client interface {
	// request makes the nth request, checks the answer, and gives the generation that has answered.
	request(n int) (generation int, err error)
	// hangUp is called after the last one.
	hangUp()
}

// newLoad prepares clients of the addresses, which go by the names of the sockets.
func newLoad(set settings, addrs map[string]string) *load {
	l := &load{seed: set.seed, news: make(chan struct{}, 1)}
	add := func(name string, clients int, connect func(*kind, who) client) *kind {
		k := &kind{name: name, clients: clients, patience: clientPatience, connect: connect, serving: &l.serving, news: l.news}
		l.kinds = append(l.kinds, k)
		return k
	}
	lines := func(network, addr string, keep bool) func(*kind, who) client {
		return func(k *kind, w who) client {
			return &lineClient{who: w, kind: k, network: network, addr: addr, keepAlive: keep}
		}
	}
	tcp, unix, udp, stream := addrs[tcpLines], addrs[unixLines], addrs[udpEcho], addrs[tcpStream]
	add("tcp keep-alive", set.clients, lines("tcp", tcp, true))
	add("tcp per request", set.clients, lines("tcp", tcp, false))
	add("unix keep-alive", set.clients, lines("unix", unix, true))
	add("unix per request", set.clients, lines("unix", unix, false))
	add("udp", set.clients, func(k *kind, w who) client { return &packetClient{who: w, kind: k, addr: udp} })
	l.streams = add("stream", set.streams, func(k *kind, w who) client {
		return &streamClient{who: w, kind: k, addr: stream, longest: set.stream}
	})
	return l
}

// who is the identity of a client.
type who struct {
	name   string
	chance *rand.Rand
}

// id of its nth request.
func (w who) id(n int) string { return fmt.Sprintf("%s-%d", w.name, n) }

// compose gives its nth request for an echo. They differ in length, and each tenth is slow to answer.
func (w who) compose(n int) string {
	text := w.id(n) + " " + strings.Repeat("x", w.chance.IntN(1000))
	if w.chance.IntN(10) == 0 {
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
			w := who{
				name:   fmt.Sprintf("%s-%d-%d", k.name, j, l.rounds),
				chance: rand.New(rand.NewPCG(l.seed, l.rounds<<32|uint64(i)<<16|uint64(j))),
			}
			l.running.Go(func() { k.run(ctx, w) }) // ends with stop
		}
	}
}

// stop lets the clients finish what they have begun.
func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

// answeredBy reports whether clients of each kind have an answer of the generation, or of a later one. Streams are left out:
// they begin seldom.
func (l *load) answeredBy(generation int) bool {
	for _, k := range l.kinds {
		if k != l.streams && k.tally().newest < generation {
			return false
		}
	}
	return true
}

// total adds the kinds up.
func (l *load) total() tally {
	var total tally
	for _, k := range l.kinds {
		total = total.plus(k.tally())
	}
	return total
}

// kind is clients of the same kind.
type kind struct {
	name     string
	clients  int
	patience time.Duration
	connect  func(*kind, who) client // makes one, which connects when it has to
	serving  *atomic.Int64
	news     chan<- struct{}

	mu   sync.Mutex
	seen tally
}

// tally is what clients have seen.
type tally struct {
	requests int
	failed   int
	dials    int
	slowest  time.Duration // answer
	newest   int           // generation that has answered
	outlived int           // the most upgrades that came between a request and the end of its answer
	failures []error       // some of them
}

// fewFailures is how many are remembered of each kind: a soak may go on for days.
const fewFailures = 5

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

// thinking is the longest time that a client lets pass between two requests.
const thinking = 10 * time.Millisecond

// run makes requests until the context ends; the last one is finished.
func (k *kind) run(ctx context.Context, w who) {
	c := k.connect(k, w)
	defer c.hangUp()
	for n := 1; ctx.Err() == nil; n++ {
		begin := time.Now()
		generation, err := c.request(n)
		if err != nil {
			err = fmt.Errorf("%s: %w", w.id(n), err)
		}
		k.note(time.Since(begin), generation, err)
		time.Sleep(time.Duration(w.chance.Int64N(int64(thinking))))
	}
}

func (k *kind) note(took time.Duration, generation int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen.requests++
	if err != nil {
		k.seen.failed++
		if len(k.seen.failures) < fewFailures {
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
	case k.news <- struct{}{}:
	default:
	}
}

func (k *kind) tally() tally {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen
}

// dial opens a connection for a client, or fails: it is not tried again.
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
