//go:build linux

package grace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var tcpOnly = config{Listen: []endpoint{{Network: "tcp", Address: "127.0.0.1:0"}}}

func finished(event string, pid int) func(printed) bool {
	return func(p printed) bool { return p.Event == event && (pid == 0 || p.PID == pid) }
}

// Invariant 1: from the first bind to the last exit the sockets are open in some process.
func TestNoConnectionIsRefusedOrLost(t *testing.T) {
	dir := t.TempDir()
	s := start(t, "lines", config{Listen: []endpoint{
		{Network: "tcp", Address: "127.0.0.1:0"},
		{Network: "tcp", Address: "127.0.0.1:0"},
		{Network: "unix", Address: filepath.Join(dir, "s")},
		{Network: "unix", Address: "@grace-test-" + filepath.Base(filepath.Dir(dir))},
	}})
	l := startLoad(s)
	const upgrades = 10
	for range upgrades {
		s.upgrade()
	}
	generation, _ := s.serving()
	if generation != upgrades+1 {
		t.Errorf("generation %d serves after %d upgrades", generation, upgrades)
	}
	for l.served(generation) == 0 && !t.Failed() { // the clients are on their way to it
		time.Sleep(time.Millisecond)
	}
	l.end(t)
	if l.served(1) == 0 {
		t.Errorf("the load began too late: %v", l.servers)
	}
}

// Invariant 2, the plain cases: exactly one generation ends up serving. Invariant 3: a failed upgrade leaves it as it was.
func TestFailedSuccessorLeavesTheOldProcessAsItWas(t *testing.T) {
	for mode, want := range map[string]string{
		"exit":              "exit status 3",
		"exit-after-listen": "exit status 4",
		"panic":             "panic: as told",
		"crash":             "exit status 2",
		"part-panic":        "exit status 2",
		"hook-error":        "the database is not there",
		"hang":              ErrTimeout.Error(),
		"never-new":         ErrTimeout.Error(),
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := tcpOnly
			c.Timeout = 3 * time.Second
			c.PIDFile = filepath.Join(t.TempDir(), "pid")
			s := start(t, "lines", c)
			_, pid := s.serving()
			l := startLoad(s)
			s.ask("census") // what the first one costs stays: a goroutine of the poller, for example
			held := s.dial()
			defer held.Close()
			before := heldCensus(t, held)
			s.misbehave(mode)
			if got := s.ask("upgrade"); !strings.Contains(got, want) {
				t.Errorf("Upgrade returned %q, and not the cause %q", got, want)
			}
			l.end(t)
			sameCensus(t, before, func() census { return heldCensus(t, held) })
			if _, now := s.serving(); now != pid {
				t.Errorf("process %d serves and not %d", now, pid)
			}
			if got, _ := os.ReadFile(c.PIDFile); string(got) != fmt.Sprintln(pid) {
				t.Errorf("the PID file says %q, and not %d", got, pid)
			}
			s.misbehave("")
			s.upgrade()
			if generation, now := s.serving(); now == pid || generation != 2 {
				t.Errorf("after another upgrade, process %d of generation %d serves", now, generation)
			}
		})
	}
}

// heldCensus asks over a connection that is there before and after.
func heldCensus(t testing.TB, c *client) (got census) {
	t.Helper()
	answer, err := c.ask("census")
	if err != nil {
		t.Fatal(err)
	}
	decode(t, answer, &got)
	return got
}

// sameCensus waits until connections and goroutines of the load are gone.
func sameCensus(t *testing.T, before census, now func() census) {
	t.Helper()
	var after census
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		after = now()
		extra := slices.DeleteFunc(slices.Clone(after.Descriptors), func(d string) bool { return slices.Contains(before.Descriptors, d) })
		missing := slices.DeleteFunc(slices.Clone(before.Descriptors), func(d string) bool { return slices.Contains(after.Descriptors, d) || strings.Contains(d, "socket:") })
		if len(extra) == 0 && len(missing) == 0 && after.Goroutines <= before.Goroutines && after.Children == before.Children && len(after.Env) == 0 {
			return
		}
	}
	t.Errorf("left over:\nbefore %+v\nafter  %+v", before, after)
}

func TestUpgradeCancelledByItsCaller(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	s.misbehave("hang")
	_, pid := s.serving()
	if got := s.cancelledAfter("ReadyStarted"); !strings.Contains(got, "cancelled by the test") || !strings.Contains(got, "signal: killed") {
		t.Errorf("Upgrade returned %q", got)
	}
	failed := s.Await("the end of the upgrade", finished("UpgradeFinished", pid))
	if failed.Err == "" {
		t.Errorf("the event has no error: %+v", failed)
	}
	s.misbehave("")
	s.upgrade()
}

// Whenever an upgrade is cancelled, what Upgrade returns is what has become of it.
func TestUpgradeCancelledAtAnyMoment(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	outcomes := map[bool]int{}
	window := 12 * time.Millisecond // follows the speed of the machine
	for range 60 {
		generation, pid := s.serving()
		answer := s.ask("upgrade " + rand.N(window).String())
		outcomes[answer == "upgraded"]++
		window = window * 5 / 4
		if answer == "upgraded" {
			window /= 2
			s.Await("the next generation", func(p printed) bool {
				return p.Event == "ReadyFinished" && p.Generation == generation+1 && p.Err == ""
			})
		}
		now, nowPID := s.serving()
		if answer == "upgraded" && now != generation+1 || answer != "upgraded" && nowPID != pid {
			t.Fatalf("Upgrade returned %q, and generation %d was followed by %d", answer, generation, now)
		}
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("no variety: %v", outcomes)
	}
}

// A process does not keep the connection to a parent that is gone.
func TestSecondGenerationHasAsManyDescriptorsAsTheFirst(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	sockets := func() (n int) {
		for _, d := range s.census().Descriptors {
			if strings.HasPrefix(d, "socket:") {
				n++
			}
		}
		return n
	}
	first := sockets()
	s.upgrade()
	s.awaitParentExit(2)
	awaitThat(t, fmt.Sprintf("the second generation has %d sockets, as the first had", first), func() bool { return sockets() == first })
}

func TestSecondUpgradeWhileOneRuns(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	s.misbehave("hang")
	result := s.upgrading()
	s.Await("the successor", finished("SuccessorStarted", 0))
	if got := s.ask("upgrade"); !strings.Contains(got, ErrUpgradeInProgress.Error()) {
		t.Errorf("the second upgrade returned %q", got)
	}
	s.expect("cancel", "cancelled")
	if got := <-result; !strings.Contains(got, "cancelled by the test") {
		t.Errorf("the first upgrade returned %q", got)
	}
}

// The old process dies before it has committed anything: the successor takes over, and no client is refused.
func TestOldProcessDiesDuringTheUpgrade(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	_, pid := s.serving()
	s.misbehave("kill-parent")
	c := s.dial()
	defer c.Close()
	if _, err := fmt.Fprintln(c, "upgrade"); err != nil {
		t.Fatal(err)
	}
	s.Await("the successor to be ready", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == 2 && p.Err == "" })
	if generation, now := s.serving(); generation != 2 || now == pid {
		t.Errorf("generation %d serves", generation)
	}
	s.Await("the report of its end", func(p printed) bool {
		return p.Event == "ParentExited" && p.Generation == 2 && strings.Contains(p.Detail, fmt.Sprint(pid))
	})
	s.misbehave("")
	s.upgrade()
}

// Invariant 4, over many upgrades: nothing grows.
func TestHundredUpgradesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	upgrades := 100
	if testing.Short() {
		upgrades = 10
	}
	s := start(t, "lines", config{PIDFile: filepath.Join(t.TempDir(), "pid"), Listen: []endpoint{
		{Network: "tcp", Address: "127.0.0.1:0"},
		{Network: "unix", Address: filepath.Join(t.TempDir(), "s")},
	}})
	s.upgrade()
	s.awaitParentExit(2)
	before := s.leastCensus()
	for i := range upgrades {
		if i%10 == 5 { // failures are part of life
			s.misbehave("exit-after-listen")
			if got := s.ask("upgrade"); !strings.Contains(got, "exit status 4") {
				t.Fatalf("Upgrade returned %q", got)
			}
			s.misbehave("")
		}
		s.upgrade()
		s.awaitParentExit(i + 3)
	}
	s.awaitCensus(before)
	after := s.census()
	if after.Children > 0 || len(after.Env) > 0 {
		t.Errorf("after %d upgrades: %+v", upgrades, after)
	}
	for _, d := range after.Descriptors {
		if strings.HasPrefix(d, "socket:") && !strings.HasSuffix(d, " nonblocking") {
			t.Errorf("O_NONBLOCK was cleared: %s", d)
		}
	}
	if pids := s.PIDs(); len(pids) < upgrades+2 {
		t.Errorf("only %d processes have served", len(pids))
	}
}

// leastCensus is what a generation has when nothing goes on. Right after an event, the goroutine that has told of it may not have
// returned yet, nor others that have nothing more to wait for.
func (s *service) leastCensus() census {
	s.t.Helper()
	least := s.census()
	for range 20 {
		if c := s.census(); c.Goroutines <= least.Goroutines && len(c.Descriptors) <= len(least.Descriptors) {
			least = c
		}
	}
	return least
}

// awaitParentExit waits until a generation has seen the end of the one before.
func (s *service) awaitParentExit(generation int) {
	s.t.Helper()
	s.Await(fmt.Sprintf("generation %d to see its parent's end", generation), func(p printed) bool {
		return p.Event == "ParentExited" && p.Generation == generation
	})
}

// Invariant 5, and the ancestor's documented bug: it "doesn't handle closing of listeners".
func TestClosedListenerIsNotHandedOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	s := start(t, "lines", config{Listen: []endpoint{
		{Network: "tcp", Address: "127.0.0.1:0"},
		{Network: "unix", Address: path},
	}})
	port := freePort(t)
	if got := s.ask("listen tcp " + port); got != "<nil>" {
		t.Fatal(got)
	}
	for _, name := range []string{"tcp " + port, "unix " + path} {
		if got := s.ask("close " + name); got != "<nil>" {
			t.Fatal(got)
		}
	}
	refused(t, "tcp", port)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the path of a closed listener: %v", err)
	}
	s.misbehave("")
	s.upgrade()
	started := s.Await("the successor", func(p printed) bool { return p.Event == "SuccessorStarted" })
	if !strings.Contains(started.Detail, "sockets=1 ") {
		t.Errorf("closed sockets were passed: %s", started.Detail)
	}
	refused(t, "tcp", port)
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func refused(t *testing.T, network, addr string) {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err == nil {
		c.Close()
		t.Errorf("%s %s is still open", network, addr)
	} else if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%s %s: %v", network, addr, err)
	}
}

// Both processes share the flag: if one clears it, Accept blocks a thread of the other and Close hangs (golang.org/issue/29277).
func TestSharedSocketsStayNonblocking(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	held := s.dial()
	defer held.Close()
	check := func(when string, c census) {
		t.Helper()
		sockets := 0
		for _, d := range c.Descriptors {
			if strings.HasPrefix(d, "socket:") {
				sockets++
				if !strings.HasSuffix(d, " nonblocking") {
					t.Errorf("%s: %s", when, d)
				}
			}
		}
		if sockets < 2 {
			t.Errorf("%s: there are only %d sockets", when, sockets)
		}
	}
	s.misbehave("exit-after-listen")
	s.ask("upgrade")
	check("old process, after a failed upgrade", heldCensus(t, held))
	s.misbehave("")
	s.upgrade()
	check("new process", s.census())
	for range 2 {
		s.upgrade()
	}
	check("after three upgrades", s.census())
}

func TestUnixPathLivesAsLongAsTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := start(t, "lines", config{Listen: []endpoint{{Network: "unix", Address: path}}})
	file, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	same := func(when string) {
		t.Helper()
		if now, err := os.Lstat(path); err != nil || !os.SameFile(file, now) {
			t.Errorf("%s the path is another: %v", when, err)
		}
	}
	_, first := s.serving()
	s.upgrade()
	s.AwaitExit(first)
	same("after an upgrade and the exit of the old process")
	s.misbehave("exit-after-listen")
	s.ask("upgrade")
	same("after a failed upgrade")
	_, last := s.serving()
	if err := unix.Kill(last, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.AwaitExit(last)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the final stop the path is there: %v", err)
	}
}
