//go:build linux

package gracehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-grace/grace"
)

// stress is a server that drains under load, and its successor, which listens on the same socket.
// Transfers between them succeed, fail and take a while at random.
type stress struct {
	t         *testing.T
	ln        *net.TCPListener
	old, next *node
	ledger    ledger
	stop      atomic.Bool
	patience  time.Duration // of a client
}

const stressClients = 8

// newStress starts the server. A rule that is not nil tells when connections are idle.
func newStress(t *testing.T, rule idleRule) *stress {
	t.Helper()
	ln := listen(t)
	s := &stress{t: t, ln: ln.(*net.TCPListener), patience: patience}
	s.ledger.handled = make(map[string]int)
	s.old = serveNode(t, &http.Server{Handler: &s.ledger}, ln, WithIdleHandover())
	if rule != nil {
		s.old.judge(rule)
		s.patience = time.Second // a request may be lost
	}
	return s
}

// run sends requests from several clients until the server has drained. The drain begins at a
// random time. It returns the failures.
func (s *stress) run() (requests int, failed error) {
	s.t.Helper()
	results := make(chan error, stressClients)
	clients := make([]*stressClient, stressClients)
	for i := range clients {
		clients[i] = &stressClient{stress: s, name: fmt.Sprint(i)}
		go func() { results <- clients[i].run() }() // ends when the drain has
	}
	time.Sleep(rand.N(3 * time.Millisecond)) // under load
	drained := s.upgrade()
	var errs []error
	select {
	case err := <-drained:
		errs = append(errs, err)
	case err := <-results: // only an error can come so early
		errs = append(errs, err)
		results <- nil
	}
	s.stop.Store(true)
	for range clients {
		errs = append(errs, <-results)
	}
	for _, c := range clients {
		requests += c.done
		errs = append(errs, s.ledger.check(c))
	}
	failed = errors.Join(errs...)
	if failed == nil {
		s.old.checkDrained()
	}
	return requests, failed
}

// upgrade begins the drain.
func (s *stress) upgrade() <-chan error {
	f, err := s.ln.File()
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		s.t.Fatal(err)
	}
	s.next = serveNode(s.t, &http.Server{Handler: &s.ledger}, ln, WithIdleHandover())
	left := rand.IntN(1000) // transfers until the successor is gone; mostly it stays to the end
	var n atomic.Int64
	s.old.transferTo(func(ctx context.Context, name string, c syscall.Conn, state []byte) error {
		if int(n.Add(1)) > left {
			return grace.ErrNoSuccessor
		}
		if rand.IntN(4) == 0 {
			time.Sleep(rand.N(3 * time.Millisecond)) // a slow successor
		}
		if rand.IntN(4) == 0 {
			return grace.ErrRefused
		}
		return s.next.take(ctx, name, c, state)
	})
	return s.old.drainAfterUpgrade()
}

// close ends both servers.
func (s *stress) close() {
	s.old.Close()
	s.next.Close()
}

// ledger is a handler that echoes the request, and records it.
type ledger struct {
	mu      sync.Mutex
	handled map[string]int // by path
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // a response would be wrong
	}
	l.mu.Lock()
	l.handled[r.URL.Path]++
	l.mu.Unlock()
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
}

// check compares the requests of a client with those that were handled.
func (l *ledger) check(c *stressClient) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range c.done {
		if times := l.handled[c.path(n)]; times != 1 {
			return fmt.Errorf("request %s was handled %d times", c.path(n), times)
		}
	}
	if times := l.handled[c.path(c.done)]; times > 0 && c.err == nil {
		return fmt.Errorf("request %s was handled but not sent", c.path(c.done))
	}
	return nil
}

// Connections that are handed over at any moment lose no request, and none is handled twice.
func TestHandoverUnderStress(t *testing.T) {
	rounds, requests, transferred := 0, 0, int64(0)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); rounds++ {
		s := newStress(t, nil)
		n, err := s.run()
		requests += n
		transferred += s.old.transfers.transferred.Load()
		s.close()
		if err != nil {
			t.Fatalf("in round %d: %v", rounds, err)
		}
	}
	t.Logf("%d requests and %d connections handed over, in %d rounds", requests, transferred, rounds)
}

// The rule needs each condition: without it, requests are lost under the same stress.
func TestStressFindsWrongRules(t *testing.T) {
	for name, rule := range map[string]idleRule{
		"any size":                func(sets, _ int) bool { return sets == 1 },
		"any number of deadlines": func(_, size int) bool { return size == 4096 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 1000
			for round := range most {
				s := newStress(t, rule)
				_, err := s.run()
				s.close()
				if err != nil {
					t.Logf("in round %d: %v", round, err)
					return
				}
			}
			t.Errorf("no request is lost in %d rounds", most)
		})
	}
}
