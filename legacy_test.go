//go:build linux

package grace

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// migration is a service that begins as a program of facebookgo/grace.
type migration struct {
	*service
	pid int // of the process that serves
}

func startLegacy(t *testing.T, c config) *migration {
	t.Helper()
	c.ModeFile = filepath.Join(t.TempDir(), "mode")
	m := &migration{service: &service{t: t, config: c}}
	m.misbehave("legacy")
	m.service = launch(t, "migrating", c)
	m.pid = m.Await("the legacy program to serve", finished("LegacyServing", 0)).PID
	return m
}

// fixed is a service on addresses that no client's own port can have: the legacy program knows its sockets by their addresses.
func fixed(t *testing.T, names ...string) config {
	t.Helper()
	var c config
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.7.7.7:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c.Listen = append(c.Listen, endpoint{Name: name, Network: "tcp", Address: ln.Addr().String()})
	}
	return c
}

// begin installs a program and tells the process that serves to upgrade.
func (m *migration) begin(mode string) {
	m.t.Helper()
	m.misbehave(mode)
	m.signal(m.pid, unix.SIGUSR2)
}

// toGrace upgrades to a program of ours, and waits for the end of the process that served.
func (m *migration) toGrace(generation int) {
	m.t.Helper()
	seen := m.PIDs()
	m.begin("")
	m.next(m.Await("the next generation", func(p printed) bool {
		return p.Event == "ReadyFinished" && p.Err == "" && p.Generation == generation && !slices.Contains(seen, p.PID)
	}))
	m.Await("the end of the parent to be noticed", finished("ParentExited", m.pid))
}

func (m *migration) toLegacy(mode string) {
	m.t.Helper()
	seen := m.PIDs()
	m.begin(mode)
	m.next(m.Await("the legacy program to serve", func(p printed) bool {
		return p.Event == "LegacyServing" && !slices.Contains(seen, p.PID)
	}))
}

func (m *migration) next(p printed) {
	m.t.Helper()
	m.AwaitExit(m.pid)
	m.pid = p.PID
}

// AwaitExit waits for the end of a process, and connects to the service meanwhile: os.StartProcess has put the sockets of the legacy
// program into blocking mode (golang.org/issue/29277), so that it may take one more connection before it can close them.
func (m *migration) AwaitExit(pid int) {
	m.t.Helper()
	var knocking sync.WaitGroup
	stop := make(chan struct{})
	for _, e := range m.config.Listen {
		knocking.Go(func() { knock(e, stop) })
	}
	m.service.AwaitExit(pid)
	close(stop)
	knocking.Wait()
}

// knock connects again and again, and asks nothing of the answers.
func knock(e endpoint, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		if conn, err := net.Dial(e.Network, e.Address); err == nil {
			_, _ = newClient(conn).ask("who")
			conn.Close()
		}
	}
}

// connect dials until the process that serves answers. Before that, one that is about to drain may.
func (m *migration) connect() *client {
	m.t.Helper()
	for {
		conn, err := net.Dial("tcp", m.config.Listen[0].Address)
		if err != nil {
			m.t.Fatal(err)
		}
		c := newClient(conn)
		who, err := c.ask("who")
		if err != nil {
			m.t.Fatal(err)
		}
		if strings.HasSuffix(who, fmt.Sprintf(" %d", m.pid)) {
			return c
		}
		c.Close()
	}
}

func (m *migration) answers(line string) string {
	m.t.Helper()
	c := m.connect()
	defer c.Close()
	answer, err := c.ask(line)
	if err != nil {
		m.t.Fatal(err)
	}
	return answer
}

// The way of the ancestor's users, there and back: no client notices.
func TestMigrationFromFacebookgoGraceAndBack(t *testing.T) {
	c := fixed(t, "first", "second")
	c.PIDFile = filepath.Join(t.TempDir(), "pid")
	m := startLegacy(t, c)
	l := startLoad(m.service)
	m.toGrace(2)
	m.toGrace(3)
	m.toLegacy("legacy-reversed")
	m.namedByPIDFile()
	m.toLegacy("legacy-reversed") // which does not know whose the variables and descriptors are
	m.toGrace(2)
	m.namedByPIDFile()
	for served := time.Now(); l.served(0) == 0 || l.served(2) == 0 || l.served(3) == 0; time.Sleep(time.Millisecond) {
		if time.Since(served) > patience {
			t.Fatalf("not all have served: %v", l.servers)
		}
	}
	l.end(t)
	if m.count(finished("SocketsAbandoned", 0)) > 0 || m.count(finished("PathLost", 0)) > 0 ||
		m.count(finished("AncestorStays", 0)) > 0 {
		t.Error("something went wrong")
	}
	m.hasOnlyItsListeners()
	// The names were not taken for those of other sockets.
	for i, e := range c.Listen {
		if a := m.lastSocket(e.Name); a != e.Address {
			t.Errorf("socket %d, %s, is at %s and not at %s", i, e.Name, a, e.Address)
		}
	}
}

// namedByPIDFile expects that the PID file names who serves; the legacy program does not write one.
func (m *migration) namedByPIDFile() {
	m.t.Helper()
	if got, err := os.ReadFile(m.config.PIDFile); err != nil || string(got) != fmt.Sprintln(m.answering()) {
		m.t.Errorf("the PID file says %q, and %d serves (%v)", got, m.pid, err)
	}
}

func (m *migration) answering() int {
	m.t.Helper()
	var generation, pid int
	if _, err := fmt.Sscanf(m.answers("who"), "who %d %d", &generation, &pid); err != nil {
		m.t.Fatal(err)
	}
	return pid
}

// hasOnlyItsListeners waits until the process that serves has no socket but its listeners and the connection that asks, no
// descriptor of a process, and no variable that announces any.
func (m *migration) hasOnlyItsListeners() {
	m.t.Helper()
	var c census
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		decode(m.t, m.answers("census"), &c)
		sockets, processes := 0, 0
		for _, d := range c.Descriptors {
			if strings.HasPrefix(d, "socket:") {
				sockets++
			} else if strings.Contains(d, "pidfd") {
				processes++
			}
		}
		if sockets == len(m.config.Listen)+1 && processes == 0 && len(c.Env) == 0 {
			return
		}
	}
	m.t.Errorf("left over: %v", c)
}

// lastSocket is where the newest process has opened the socket of a name.
func (m *migration) lastSocket(name string) (addr string) {
	for _, p := range m.Lines() {
		if p.Event == "SocketOpened" && p.PID == m.pid && strings.Contains(p.Detail, "name="+name+" ") {
			addr, _, _ = strings.Cut(strings.TrimPrefix(p.Detail, "socket="), " ")
		}
	}
	return addr
}

// A main as most are, whose context SIGTERM ends too: the successor's SIGTERM is not the end of the service, whichever receiver in
// the process is the first to learn of it. The owner of the context may also call Upgrade by himself.
func TestRollbackUnderAContextOfSignals(t *testing.T) {
	for name, begin := range map[string]func(*migration){
		"Run": func(m *migration) { m.signal(m.pid, unix.SIGUSR2) },
		"Upgrade": func(m *migration) {
			if answer := m.answers("upgrade"); !strings.HasPrefix(answer, "upgraded") {
				t.Errorf("Upgrade returned %s", answer)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fixed(t, "")
			c.Notify = true
			m := startLegacy(t, c)
			l := startLoad(m.service)
			for range 30 {
				m.toGrace(2)
				seen := m.PIDs()
				m.misbehave("legacy")
				begin(m)
				m.next(m.Await("the legacy program to serve", func(p printed) bool {
					return p.Event == "LegacyServing" && !slices.Contains(seen, p.PID)
				}))
				if !alive(m.pid) {
					t.Fatal("nobody serves")
				}
			}
			l.end(t)
		})
	}
}

// Only a signal is waited for, and not for long, where an upgrade to such a program is cancelled or shut down.
func TestCancelledRollback(t *testing.T) {
	for name, cancel := range map[string]func(*migration, *client){
		"cancelled": func(m *migration, _ *client) { m.answers("cancel") },
		"shut down": func(m *migration, _ *client) { m.signal(m.pid, unix.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fixed(t, "")
			c.Notify = true
			m := startLegacy(t, c)
			m.toGrace(2)
			held := m.connect()
			defer held.Close()
			m.misbehave("legacy-hang")
			upgrade := make(chan string, 1)
			go func() { // ends with the connection
				answer, _ := held.ask("upgrade")
				upgrade <- answer
			}()
			successor := m.Await("the legacy program to take the socket", func(p printed) bool {
				return p.Event == "SocketOpened" && p.Generation == 0 && p.PID != m.PIDs()[0]
			}).PID
			began := time.Now()
			cancel(m, held)
			m.Await("the end of the upgrade", finished("UpgradeFinished", m.pid))
			if took := time.Since(began); took < signalDelay || took > signalDelay+patience/2 {
				t.Errorf("the upgrade ended after %v", took)
			}
			m.AwaitExit(successor)
			if answer := <-upgrade; strings.HasPrefix(answer, "upgraded") {
				t.Errorf("Upgrade returned %s", answer)
			}
		})
	}
}

// A successor that does not come up has ended nothing: its parent has not been signalled.
func TestLegacyParentServesOnIfItsSuccessorFails(t *testing.T) {
	for _, mode := range []string{"exit", "exit-after-listen", "hook-error"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			m := startLegacy(t, fixed(t, ""))
			l := startLoad(m.service)
			m.begin(mode)
			m.Await("the successor to end", finished("LegacyChildEnded", m.pid))
			m.toGrace(2)
			for l.served(2) == 0 && !t.Failed() {
				time.Sleep(time.Millisecond)
			}
			l.end(t)
			if n := m.count(finished("LegacyDraining", 0)); n != 1 {
				t.Errorf("the parent was told to drain %d times", n)
			}
		})
	}
}

func TestVetoKeepsALegacyParent(t *testing.T) {
	m := startLegacy(t, fixed(t, ""))
	m.begin("veto")
	served := m.Await("the successor", finished("ReadyFinished", 0))
	if served.Err != "" || served.Generation != 2 || m.count(finished("LegacyDraining", 0)) > 0 || !alive(m.pid) {
		t.Errorf("the parent was not kept: %+v", served)
	}
	if warning := m.Await("a warning", finished("AncestorStays", served.PID)); warning.PID != served.PID {
		t.Error("nobody was warned")
	}
	m.signal(m.pid, unix.SIGTERM) // it drains when it is told to
	m.AwaitExit(m.pid)
	m.Await("its end to be noticed", finished("ParentExited", served.PID))
}

// Whoever passes sockets need not be a process that replaces itself.
func TestDevelopmentToolIsNotSignalled(t *testing.T) {
	s := launch(t, "tool", tcpOnly)
	tool := s.Await("the tool", finished("ToolStarts", 0)).PID
	ready := s.Await("the service", finished("ReadyFinished", 0))
	if ready.Generation != 1 || ready.Err != "" || !alive(tool) {
		t.Errorf("with a tool for its parent, it says %+v", ready)
	}
	if n := s.count(finished("AncestorSignalled", 0)); n > 0 {
		t.Error("the tool was signalled")
	}
	s.signal(ready.PID, unix.SIGTERM)
	s.AwaitExit(tool)
}

// A shutdown signal ends the service as ever, whatever a successor has done that is not what the ancestor's does.
func TestShutdownSignalDuringAnUpgradeEndsTheService(t *testing.T) {
	for mode, isThere := range map[string]func(printed) bool{
		"hang":          func(p printed) bool { return p.Event == "HookStarted" && p.Generation == 2 }, // it has taken its sockets
		"never-new":     finished("SuccessorStarted", 0),                                               // it has not read Hello
		"close-sockets": finished("Closed", 0),                                                         // neither, and its sockets are gone
		"legacy-slow":   finished("LegacyStarting", 0),                                                 // it has not taken its sockets
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := fixed(t, "")
			s := start(t, "migrating", c)
			pid := s.PIDs()[0]
			s.misbehave(mode)
			s.signal(pid, unix.SIGHUP)
			s.Await("the successor", isThere)
			s.signal(pid, unix.SIGTERM)
			s.AwaitExit(pid)
			if end := s.Await("the end of the upgrade", finished("UpgradeFinished", pid)); !strings.Contains(end.Err, ErrShutdown.Error()) {
				t.Errorf("the upgrade ended with %q", end.Err)
			}
			refused(t, "tcp", c.Listen[0].Address)
		})
	}
}

func TestLegacySuccessorThatExitsIsAFailedUpgrade(t *testing.T) {
	m := startLegacy(t, fixed(t, ""))
	m.toGrace(2)
	l := startLoad(m.service)
	m.begin("legacy-exit")
	failed := m.Await("the upgrade to fail", finished("UpgradeFinished", m.pid))
	if !strings.Contains(failed.Err, "exit status 5") {
		t.Errorf("the upgrade ended with %q", failed.Err)
	}
	m.toLegacy("legacy") // the next one works
	l.end(t)
}

// One SIGTERM is the successor's, and the next one is for the process itself.
func TestShutdownSignalAfterTheWordOfALegacySuccessor(t *testing.T) {
	m := startLegacy(t, fixed(t, ""))
	m.toGrace(2)
	held := m.connect() // keeps the drain from ending
	defer held.Close()
	m.begin("legacy")
	m.Await("the drain", finished("DrainStarted", m.pid))
	m.signal(m.pid, unix.SIGTERM)
	m.Await("the signal", func(p printed) bool { return p.Event == "SignalReceived" && strings.Contains(p.Detail, "terminated") })
	if !alive(m.pid) {
		t.Error("a second signal has forced the exit")
	}
	m.signal(m.pid, unix.SIGTERM)
	m.AwaitExit(m.pid)
}

// The first process of the ancestor's removes the path that it has bound when it drains.
func TestUnixPathSurvivesALegacyParent(t *testing.T) {
	dir, err := os.MkdirTemp("", "grace") // the path of a unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := fixed(t, "")
	c.Listen = append(c.Listen, endpoint{Network: "unix", Address: filepath.Join(dir, "s")})
	m := startLegacy(t, c)
	m.toGrace(2)
	m.reachableAt(dir)
	m.toLegacy("legacy") // now it is inherited, and not removed
	m.reachableAt(dir)
	m.toGrace(2)
	m.reachableAt(dir)
}

// reachableAt expects the process that serves at the only file of a directory.
func (m *migration) reachableAt(dir string) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
		if len(files) == 1 && len(hidden) == 0 {
			break
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("there are %v %v", files, hidden)
		}
	}
	conn, err := net.Dial("unix", filepath.Join(dir, "s"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	if answer, err := newClient(conn).ask("who"); err != nil || !strings.HasSuffix(answer, fmt.Sprint(" ", m.pid)) {
		m.t.Errorf("process %d serves, and the answer is %q, %v", m.pid, answer, err)
	}
}

// A later generation follows it too.
func TestDrainingLegacyParentIsPassedOn(t *testing.T) {
	m := startLegacy(t, fixed(t, ""))
	held := m.connect() // keeps the drain from ending
	defer held.Close()
	legacy := m.pid
	m.begin("")
	second := m.Await("the second generation", finished("ReadyFinished", 0))
	m.Await("the drain", finished("LegacyDraining", legacy))
	m.signal(second.PID, unix.SIGUSR2)
	third := m.Await("the third generation", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == 3 })
	m.Await("the end of the second", finished("ParentExited", third.PID))
	if m.count(finished("AncestorExited", 0)) > 0 {
		t.Error("the legacy process is there, and was seen to end")
	}
	held.Close()
	m.AwaitExit(legacy)
	gone := m.Await("the end of the legacy process", finished("AncestorExited", third.PID))
	if !strings.Contains(gone.Detail, fmt.Sprintf("ancestor=%d ", legacy)) || m.count(finished("ParentExited", second.PID)) > 0 {
		t.Errorf("gone is %+v", gone)
	}
}

// A service manager has started the first process, which knows nothing of its variables and passes them on.
func TestLegacyParentThatWasActivated(t *testing.T) {
	t.Setenv("LISTEN_PID", "4711")
	t.Setenv("LISTEN_FDNAMES", "one:and:another")
	m := startLegacy(t, fixed(t, "name"))
	l := startLoad(m.service)
	m.toGrace(2)
	m.toGrace(3)
	l.end(t)
	m.hasOnlyItsListeners()
}

// What the successor does not read may be more than its end of the link can hold.
func TestLegacySuccessorOfManySockets(t *testing.T) {
	m := startLegacy(t, fixed(t, ""))
	m.toGrace(2)
	c := m.connect()
	defer c.Close()
	for i := range 2500 {
		address := fmt.Sprintf("@grace-%d-%d-", m.pid, i)
		address += strings.Repeat("x", 107-len(address))
		if got, err := c.ask("listen unix " + address); err != nil || got != "<nil>" {
			t.Fatalf("listen: %s, %v", got, err)
		}
	}
	c.Close()
	m.toLegacy("legacy")
	m.toGrace(2)
}
