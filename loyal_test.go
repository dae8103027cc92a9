//go:build linux

package grace

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// loyal are clients that never connect again, whoever answers them. Each sends numbered lines, and waits for the answers before it
// goes on: no line may be lost, answered twice or by a process that came before the one that has answered last.
type loyal struct {
	s    *service
	n    int // how many there are
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	mu       sync.Mutex
	last     map[string]heard // by client
	failures []string
}

// heard is what a client knows of the service.
type heard struct {
	client              string
	generation, answers int
}

// ways in which a client sends some lines.
var sending = map[string]func(c net.Conn, lines []string) error{
	"line by line": func(c net.Conn, lines []string) error {
		_, err := fmt.Fprintln(c, lines[0])
		return err
	},
	"in pieces": func(c net.Conn, lines []string) error {
		for _, piece := range strings.SplitAfter(lines[0]+"\n", "-") {
			if _, err := io.WriteString(c, piece); err != nil {
				return err
			}
			time.Sleep(time.Millisecond) // so that they come one by one
		}
		return nil
	},
	"all at once": func(c net.Conn, lines []string) error {
		_, err := io.WriteString(c, strings.Join(lines, "\n")+"\n")
		return err
	},
}

// startLoyal has some clients of each kind on each endpoint, and waits until all are served.
func startLoyal(s *service, each int) *loyal {
	s.t.Helper()
	l := &loyal{s: s, stop: make(chan struct{}), last: map[string]heard{}}
	s.t.Cleanup(l.halt)
	for i := range s.config.Listen {
		for way := range sending {
			for n := range each {
				conn, err := net.Dial(s.network(i), s.addr(i))
				if err != nil {
					s.t.Fatal(err)
				}
				l.add(fmt.Sprintf("%s %d %s", s.network(i), n, way), conn, way)
			}
		}
	}
	l.awaitAll("its first answer", func(h heard) bool { return h.answers > 0 })
	return l
}

func (l *loyal) add(name string, conn net.Conn, way string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[name] = heard{client: name}
	l.n++
	l.wg.Go(func() { l.run(name, conn, way) }) // ends with halt
}

func (l *loyal) run(name string, conn net.Conn, way string) {
	defer conn.Close()
	c := newClient(conn)
	var err error
	for i := 0; err == nil; i++ {
		select {
		case <-l.stop:
			l.note(name, 0, c.leaves())
			return
		case <-time.After(time.Millisecond):
		}
		err = l.exchange(name, c, way, i)
	}
	l.note(name, 0, err)
}

func (l *loyal) exchange(name string, c *client, way string, i int) error {
	lines := make([]string, 1)
	if way == "all at once" {
		lines = make([]string, 5)
	}
	for n := range lines {
		lines[n] = fmt.Sprintf("%s-line-%d-%d", strings.ReplaceAll(name, " ", "_"), i, n)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := sending[way](c, lines); err != nil {
		return err
	}
	for _, line := range lines {
		var generation, pid int
		answer, err := c.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("no answer to %s: %w", line, err)
		}
		if _, err := fmt.Sscanf(answer, line+" %d %d\n", &generation, &pid); err != nil {
			return fmt.Errorf("the answer to %s is %q", line, answer)
		}
		l.note(name, generation, nil)
	}
	return nil
}

// leaves asserts that nothing comes that was not asked for, and that the service closes the connection too.
func (c *client) leaves() error {
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if more, err := io.ReadAll(c.in); err != nil || len(more) > 0 {
		return fmt.Errorf("at the end: %q, %w", more, err)
	}
	return nil
}

// note keeps what a client has heard.
func (l *loyal) note(name string, generation int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.last[name]
	switch {
	case err != nil:
		l.failures = append(l.failures, name+": "+err.Error())
		return
	case generation == 0:
		return
	case generation < h.generation:
		l.failures = append(l.failures, fmt.Sprintf("%s: generation %d answered after generation %d", name, generation, h.generation))
	}
	l.last[name] = heard{name, generation, h.answers + 1}
}

// awaitAll waits until something is true of all clients.
func (l *loyal) awaitAll(what string, is func(heard) bool) {
	l.s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		missing, failed := l.missing(is)
		switch {
		case len(failed) > 0 || time.Now().After(deadline):
			l.s.t.Fatalf("not every client has %s: %v; failures: %v", what, missing, failed)
		case len(missing) == 0:
			return
		}
	}
}

// missing returns the clients of which something is not true.
func (l *loyal) missing(is func(heard) bool) (missing map[string]heard, failures []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	missing = maps.Clone(l.last)
	maps.DeleteFunc(missing, func(_ string, h heard) bool { return is(h) })
	return missing, slices.Clone(l.failures)
}

// awaitGeneration waits until all clients are served by it.
func (l *loyal) awaitGeneration(generation int) {
	l.s.t.Helper()
	l.awaitAll(fmt.Sprintf("an answer of generation %d", generation), func(h heard) bool { return h.generation == generation })
}

// awaitMore waits until all clients have more answers.
func (l *loyal) awaitMore() {
	l.s.t.Helper()
	before, _ := l.missing(func(heard) bool { return false })
	l.awaitAll("more answers", func(h heard) bool { return h.answers >= before[h.client].answers+20 })
}

func (l *loyal) halt() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

// end has the clients leave, and fails the test if one of them noticed anything.
func (l *loyal) end(t testing.TB) {
	t.Helper()
	l.halt()
	if len(l.failures) > 0 {
		t.Errorf("%d failures: %v", len(l.failures), l.failures[:min(5, len(l.failures))])
	}
}
