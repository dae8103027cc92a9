//go:build linux

package grace

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// clients are what uses a service: some open a connection for each request, and some keep theirs. None tries anything twice.
type clients struct {
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	mu       sync.Mutex
	answers  map[served]int
	failures []failure
}

// served is a client and the process that has answered it.
type served struct {
	client string
	pid    int
}

func clientName(network string, keep bool) string { return fmt.Sprint(network, " keep=", keep) }

// failure is a request that was not answered.
type failure struct {
	client string
	pid    int // that had answered on this connection before
	dial   bool
	err    error
}

const clientPause = 5 * time.Millisecond

func startClients(s *service) *clients {
	cs := &clients{stop: make(chan struct{}), answers: map[served]int{}}
	s.t.Cleanup(cs.halt)
	for i := range s.config.Listen {
		network, addr := s.network(i), s.addr(i)
		for _, keep := range []bool{false, true} {
			cs.wg.Go(func() { cs.run(clientName(network, keep), network, addr, keep) }) // ends with halt
		}
	}
	return cs
}

func (cs *clients) run(name, network, addr string, keep bool) {
	var c *client
	var pid int
	for i := 0; ; i++ {
		select {
		case <-cs.stop:
			if c != nil {
				c.Close()
			}
			return
		case <-time.After(clientPause):
		}
		if c == nil {
			conn, err := net.DialTimeout(network, addr, cellPatience)
			if err != nil {
				cs.fail(failure{client: name, dial: true, err: err})
				continue
			}
			c, pid = newClient(conn), 0
		}
		question := fmt.Sprintf("r%d", i)
		answer, err := c.askWithin(question, cellPatience)
		if err == nil && !strings.HasPrefix(answer, question+" ") {
			err = fmt.Errorf("asked %s and got %q", question, answer)
		}
		if err != nil {
			cs.fail(failure{client: name, pid: pid, err: err})
		} else {
			pid = servedBy(answer)
			cs.count(name, pid)
		}
		if err != nil || !keep || strings.HasSuffix(answer, " close") {
			c.Close()
			c = nil
		}
	}
}

func (cs *clients) fail(f failure) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.failures = append(cs.failures, f)
}

func (cs *clients) count(name string, pid int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.answers[served{name, pid}]++
}

// awaitAnswersOf waits until every client has an answer of the process.
func (cs *clients) awaitAnswersOf(r *trial, pid int) {
	r.t.Helper()
	defer func() {
		if cs.mu.Lock(); r.t.Failed() {
			r.t.Logf("answers: %v; failures: %v", cs.answers, cs.failures[:min(5, len(cs.failures))])
		}
		cs.mu.Unlock()
	}()
	r.until("every client to be served by the survivor", func() bool {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		for i := range r.config.Listen {
			for _, keep := range []bool{false, true} {
				if cs.answers[served{clientName(r.network(i), keep), pid}] == 0 {
					return false
				}
			}
		}
		return true
	})
}

func (cs *clients) halt() {
	cs.once.Do(func() { close(cs.stop) })
	cs.wg.Wait()
}

// check fails the test for everything that the clients should not have noticed. Each may lose the one request that a process
// had when it was killed. Where nobody is left to serve, it is enough that nobody hangs.
func (cs *clients) check(t testing.TB, h *history) {
	t.Helper()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	casualty, nobody := h.casualty(), h.expected() == "-"
	lost := map[string]int{}
	for _, f := range cs.failures {
		var timeout net.Error
		switch hangs := errors.As(f.err, &timeout) && timeout.Timeout(); {
		case !hangs && nobody:
			continue
		case !hangs && !f.dial && casualty != 0 && (f.pid == 0 || f.pid == casualty):
			if lost[f.client]++; lost[f.client] == 1 {
				continue
			}
		}
		t.Errorf("client %s, connection of process %d, dialling %v: %v (the victim was %d, the casualty %d)", f.client, f.pid, f.dial, f.err, h.victim, casualty)
	}
}

// askWithin is ask with another patience.
func (c *client) askWithin(line string, d time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	answer, err := c.in.ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}
