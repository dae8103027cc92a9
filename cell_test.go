//go:build linux

package grace

import (
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// runCell returns who serves in the end: "o", "n" or "-".
func runCell(t *testing.T, c cell, reference census) string {
	r := newTrial(t, c.scenario)
	from := r.begin(toJSON(arming{c.at.point, c.fault, c.link()}))
	fired := func(p printed) bool { return p.Event == "Fired" }
	r.until("the fault", func() bool {
		if _, over := r.reported(from); over {
			r.letOlderGo() // the rest of the points
		}
		return r.seen(from, fired) > 0
	})
	h := r.history(c, from, r.Await("the fault", fired).PID)
	switch {
	case c.fault == faultStop:
		r.outlast(h)
	case c.fault.deadly():
		r.until("the end of the victim", func() bool { return !slices.Contains(r.living(), h.victim) })
	}
	r.awaitSurvivor(from)
	h.checkOneServed()
	want := h.expected()
	switch living := r.living(); {
	case want == "-" && len(living) == 0:
		r.clients.halt()
		r.clients.check(t, h)
		r.nothingLeft()
	case len(living) != 1 || h.name(living[0]) != want:
		t.Errorf("%v live, and %q is to serve: old is %d, the victim %d", living, want, r.old, h.victim)
	default:
		r.checkSurvivor(h, living[0], reference)
	}
	return want
}

// checkSurvivor asserts that the process serves alone, that no client has noticed more than it must, that nothing is left over,
// and that the process can be upgraded.
func (r *trial) checkSurvivor(h *history, survivor int, reference census) {
	r.t.Helper()
	r.clients.awaitAnswersOf(r, survivor)
	r.clients.halt()
	r.clients.check(r.t, h)
	for i := range r.config.Listen {
		for range 20 {
			if who, err := r.whoServes(i); err != nil || who != survivor {
				r.t.Fatalf("process %d answers on %s, and not %d: %v", who, r.addr(i), survivor, err)
			}
		}
	}
	if content, err := os.ReadFile(r.config.PIDFile); string(content) != fmt.Sprintln(survivor) {
		r.t.Errorf("the PID file says %q, and not %d: %v", content, survivor, err)
	}
	if survivor == r.old && !r.scenario.older {
		<-r.answer // the connection is in use until then
		r.compare(r.before, r.control, func(c census) census { return c })
	} else { // in the last scenario the old process is a successor too
		r.control.Close()
		c := r.connect(survivor)
		r.compare(reference, c, normal)
		c.Close()
	}
	r.control.Close()
	r.opensSocket(survivor)
	r.upgradeAndEnd(survivor)
}

// opensSocket asserts that the sockets are the process's own again: while they are lent, no other can be opened.
func (r *trial) opensSocket(pid int) {
	r.t.Helper()
	c := r.connect(pid)
	defer c.Close()
	if answer, err := c.ask("listen tcp 127.0.0.1:0"); err != nil || answer != "<nil>" {
		r.t.Errorf("process %d cannot open another socket: %q, %v", pid, answer, err)
	}
}

func (r *trial) whoServes(endpoint int) (pid int, err error) {
	conn, err := net.DialTimeout(r.network(endpoint), r.addr(endpoint), cellPatience)
	if err != nil {
		return 0, err
	}
	c := newClient(conn)
	defer c.Close()
	answer, err := c.ask("who")
	return servedBy(answer), err
}

// compare waits until what the process has is what it should have.
func (r *trial) compare(want census, c *client, normalize func(census) census) {
	r.t.Helper()
	var got census
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = normalize(heldCensus(r.t, c))
		if slices.Equal(got.Descriptors, want.Descriptors) && got.Goroutines <= want.Goroutines && got.Children == want.Children && len(got.Env) == 0 {
			return
		}
	}
	r.t.Errorf("left over:\nwant %+v\ngot  %+v", want, got)
}
