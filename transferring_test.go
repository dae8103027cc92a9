//go:build linux

package grace

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startTransferring starts the service that transfers its connections, on TCP and a unix socket.
func startTransferring(t *testing.T) *service {
	t.Helper()
	return start(t, "transferring", config{
		Listen: []endpoint{
			{Network: "tcp", Address: "127.0.0.1:0"},
			{Network: "unix", Address: filepath.Join(t.TempDir(), "s")},
		},
		MaxDraining: 25,
	})
}

// own is a connection of the test itself.
func (s *service) own() *client {
	s.t.Helper()
	c := s.dial()
	s.t.Cleanup(func() { c.Close() })
	return c
}

// says sends a line, which that generation must answer.
func (s *service) says(c *client, line string, generation int) {
	s.t.Helper()
	answer, err := c.ask(line)
	if err != nil || !strings.HasPrefix(answer, fmt.Sprintf("%s %d ", line, generation)) {
		s.t.Fatalf("asked %q and got %q, %v, where generation %d is to answer",
			line, answer, err, generation)
	}
}

// wantSockets waits until the process that serves a connection has that many sockets.
func (s *service) wantSockets(c *client, want int) {
	s.t.Helper()
	var got census
	deadline := time.Now().Add(patience)
	for ; time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		got = heldCensus(s.t, c)
		n := strings.Count(strings.Join(got.Descriptors, "\n"), "socket:[")
		if n == want && len(got.Env) == 0 {
			return
		}
	}
	s.t.Errorf("the process should have %d sockets, and has %+v", want, got)
}

// awaitCount waits until there are n such events.
func (s *service) awaitCount(what string, n int, meant func(printed) bool) {
	s.t.Helper()
	awaitThat(s.t, what, func() bool { return s.count(meant) >= n })
}

// Over twenty upgrades under load, no client has to connect again. The part of a line that was read
// travels with its connection.
func TestConnectionsOutliveTwentyUpgrades(t *testing.T) {
	t.Parallel()
	s := startTransferring(t)
	half := s.own()
	l := startLoyal(s, 2)
	var before census
	for i := range 20 {
		text := fmt.Sprintf("half %d,", i)
		if _, err := fmt.Fprint(half, text); err != nil {
			t.Fatal(err)
		}
		s.upgrade()
		s.awaitEvent("the half of a line", "Took", i+2, text)
		if answer := obey(t, half, " and half"); !strings.HasPrefix(answer, text+" and half ") {
			t.Errorf("the answer to it is %q", answer)
		}
		if i == 2 {
			l.awaitGeneration(i + 2)
			s.awaitParentExit(i + 2)
			before = s.census()
		}
	}
	l.awaitGeneration(21)
	s.says(half, "whole", 21)
	for generation := range 20 {
		s.awaitEvent("the number of transfers", "DrainFinished", generation+1, "transferred=")
	}
	s.awaitParentExit(21)
	s.awaitCensus(before)
	s.wantSockets(half, 2+1+l.n)
	l.end(t)
	s.wantSockets(half, 2+1)
}

// Both processes have the socket for a moment, and neither loses an option of it.
func TestTransferredConnectionKeepsItsOptions(t *testing.T) {
	s := startTransferring(t)
	c := s.own()
	tuned := s.own()
	nilAnswer(t, tuned, "tune")
	want := obey(t, c, "tuning")
	wantTuned := "nonblock=true cloexec=true nodelay=0 keepalive=1 idle=77 interval=7 count=2"
	for generation := 2; generation < 5; generation++ {
		s.upgrade()
		s.awaitParentExit(generation)
		s.says(c, "who", generation)
		if got := obey(t, c, "tuning"); got != want {
			t.Errorf("generation %d: the connection has %s instead of %s", generation, got, want)
		}
		if got := obey(t, tuned, "tuning"); got != wantTuned {
			t.Errorf("generation %d: the tuned one has %s, not %s", generation, got, wantTuned)
		}
	}
}

// A process that drains takes what an older one transfers to it, and transfers it on.
func TestSeveralGenerationsTransferAtOnce(t *testing.T) {
	s := startTransferring(t)
	var held []*client
	for generation := 1; generation <= 3; generation++ {
		for range 3 {
			c := s.own()
			s.says(c, "stay", generation)
			held = append(held, c)
		}
		s.upgrade()
	}
	for i, c := range held {
		s.says(c, "who", i/3+1)
	}
	for _, i := range []int{0, 3, 6, 1, 7, 4, 8, 5, 2} {
		c := held[i]
		s.says(c, "move", i/3+1)
		if _, err := fmt.Fprintln(c, "to the last"); err != nil {
			t.Fatal(err)
		}
		answer, err := c.in.ReadString('\n')
		if err != nil || !strings.HasPrefix(answer, "to the last ") {
			t.Fatalf("%q, %v", answer, err)
		}
	}
	s.awaitParentExit(4)
	for _, c := range held {
		s.says(c, "who", 4)
	}
	s.wantSockets(held[0], 2+len(held))
}

// A transferred connection goes to the process that serves, past any number of processes between.
func TestTransfersGoToWhoServes(t *testing.T) {
	s := startTransferring(t)
	held := []*client{s.own(), s.own(), s.own()}
	for _, c := range held {
		s.says(c, "stay", 1)
	}
	s.upgrade()
	for generation := 3; generation <= 4; generation++ {
		s.upgrade()
		s.awaitParentExit(generation)
		c := held[generation-2]
		s.says(c, "move", 1)
		s.says(c, "who", generation)
	}
	s.wantSockets(held[0], 1+2) // the links to those that have ended are closed
	s.says(held[0], "move", 1)
	s.says(held[0], "who", 4)
	s.wantSockets(held[0], 2+len(held))
}

// A process keeps nothing of the connections that it has transferred, while it drains because of
// another one.
func TestNothingIsLeftOfTransferredConnections(t *testing.T) {
	s := startTransferring(t)
	kept := s.own()
	s.says(kept, "stay", 1)
	l := startLoyal(s, 1)
	s.upgrade()
	l.awaitGeneration(2)
	s.wantSockets(kept, 1+2) // the links to the successor
	s.says(kept, "move", 1)
	s.awaitParentExit(2)
	s.wantSockets(kept, 2+1+l.n)
	l.end(t)
}

// What the successor refuses stays where it is.
func TestRefusedConnectionsStay(t *testing.T) {
	for _, mode := range []string{"no-handler", "stop-handler"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := startTransferring(t)
			l := startLoyal(s, 1)
			s.misbehave(mode)
			s.upgrade()
			kept := func(p printed) bool { return p.Event == "Kept" }
			s.awaitCount("all to stay", l.n, kept)
			s.Await("the reason", func(p printed) bool {
				return kept(p) &&
					strings.Contains(p.Err, ErrRefused.Error()+": the new process has no handler")
			})
			l.awaitMore()
			l.awaitGeneration(1)
			l.end(t)
			s.awaitParentExit(2)
			c := s.own()
			s.wantSockets(c, 2+1)
		})
	}
}

// A successor with room for some connections gets those.
func TestSuccessorAtItsDescriptorLimit(t *testing.T) {
	for _, c := range []struct{ free, least, most int }{{0, 0, 0}, {12, 5, 12}} {
		t.Run(fmt.Sprint(c.free, " free"), func(t *testing.T) {
			t.Parallel()
			s := startTransferring(t)
			l := startLoyal(s, 4)
			s.misbehave(fmt.Sprint("nofile ", c.free))
			// Another connection would need a descriptor: the upgrade begins with a signal.
			if err := unix.Kill(s.PIDs()[0], unix.SIGHUP); err != nil {
				t.Fatal(err)
			}
			took := func(p printed) bool { return p.Event == "Took" }
			refused := func(p printed) bool {
				return p.Event == "Kept" && strings.Contains(p.Err, ErrRefused.Error()) &&
					strings.Contains(p.Err, "too many open")
			}
			either := func(p printed) bool { return took(p) || refused(p) }
			s.awaitCount("all connections to be somewhere", l.n, either)
			l.awaitMore()
			n := s.count(took)
			stayed, _ := l.missing(func(h heard) bool { return h.generation == 2 })
			if n < c.least || n > c.most || len(stayed) != l.n-n {
				t.Errorf("%d connections of %d were taken, and the old process serves %d",
					n, l.n, len(stayed))
			}
			l.end(t)
			s.awaitParentExit(2)
		})
	}
}

// Before an upgrade, and after a failed one, nobody can take a connection.
func TestTransferWithoutSuccessor(t *testing.T) {
	s := startTransferring(t)
	c := s.own()
	for _, mode := range []string{"", "exit-after-listen", "hook-error"} {
		if mode != "" {
			s.misbehave(mode)
			if got := s.ask("upgrade"); !strings.Contains(got, "upgrade failed") {
				t.Fatalf("Upgrade returned %q", got)
			}
		}
		want := `grace: transfer a connection to "lines": ` + ErrNoSuccessor.Error()
		if got := obey(t, c, "transfer"); got != want {
			t.Errorf("after %q: %s", mode, got)
		}
		s.says(c, "who", 1)
	}
	s.misbehave("")
	s.upgrade()
	s.awaitParentExit(2)
	s.says(c, "who", 2)
}
