//go:build linux

package gracehttp

import (
	"testing"
	"time"
)

// A request that takes longer to arrive than the grace period is answered, on a used connection and
// on a new one.
func TestRequestThatArrivesSlowly(t *testing.T) {
	t.Parallel()
	const grace = 4 * time.Second // the machine may be busy with something else
	s := start(t, config{Grace: grace})
	dialers := s.dialers()
	delete(dialers, "unix") // the system does not say when something arrived on it
	slow := map[string]*connection{}
	for name, connect := range dialers {
		slow["fresh "+name], slow["used "+name] = connect(), connect()
		slow["used "+name].get("/who")
		slow["fresh "+name].send("GET /who HTTP/1.1\r\n") // otherwise it would be handed over
	}
	s.upgrade()
	s.awaitDraining(1)
	for name := range dialers {
		slow["used "+name].send("GET /who HTTP/1.1\r\n")
	}
	for began := time.Now(); time.Since(began) < grace+time.Second; time.Sleep(grace / 40) {
		for _, c := range slow {
			c.send("X: y\r\n")
		}
	}
	for name, c := range slow {
		c.send("Host: test\r\n\r\n")
		if who, last := c.read(); who != "1" || !last {
			t.Errorf("%s: process %s answered, last: %v", name, who, last)
		}
		c.end()
	}
	s.stop()
}
