//go:build linux

package gracehttp

import (
	"fmt"
	"syscall"
	"testing"
)

// A connection on which nothing has arrived yet is served by the process that serves when something
// does. This holds for every way to connect, and over any number of upgrades.
func TestFreshConnectionGoesToTheSuccessor(t *testing.T) {
	for _, upgrades := range []int{1, 3} {
		t.Run(fmt.Sprint(upgrades), func(t *testing.T) {
			t.Parallel()
			s := start(t, config{})
			fresh := map[string]*connection{}
			for name, connect := range s.dialers() {
				fresh[name] = connect()
				c := connect() // the server accepts one after another
				if who, _ := c.get("/who"); who != "1" {
					t.Errorf("%s: process %s answered", name, who)
				}
				c.Close()
			}
			for n := range upgrades {
				s.upgrade()
				s.awaitTransferred(n+1, len(fresh))
			}
			for name, c := range fresh {
				if who, last := c.get("/who"); who != fmt.Sprint(upgrades+1) || last {
					t.Errorf("%s: process %s answered, last: %v", name, who, last)
				}
				c.Close()
			}
			s.stop()
			if s.has(func(l said) bool { return l.What == "log" }) {
				t.Error("a server logged something")
			}
		})
	}
}

// A request that arrives while its connection is being transferred is not lost.
func TestFirstRequestDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	var waiting []*connection
	for range 50 {
		waiting = append(waiting, s.connect())
	}
	for range 3 {
		n := s.Signal(syscall.SIGHUP)
		for !s.has(isReport(n)) {
			waiting[0].get("/who")
			waiting[0].Close()
			waiting = append(waiting[1:], s.connect())
		}
		s.AwaitReady(n + 1)
	}
	for _, c := range waiting {
		if who, _ := c.get("/who"); who != "4" {
			t.Errorf("process %s answered", who)
		}
		c.Close()
	}
	s.stop()
}
