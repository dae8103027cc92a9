//go:build linux

package grace

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// trial is one service with one upgrade, disturbed or not.
type trial struct {
	*service
	scenario scenario
	clients  *clients
	old      int     // the process that upgrades
	control  *client // a connection to it
	answer   chan string
	held     *client // keeps the older generation draining
	before   census  // of the old process
}

func newTrial(t *testing.T, sc scenario) *trial {
	dir, err := os.MkdirTemp("", "grace-matrix-") // short enough for a unix path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := config{
		Listen:    []endpoint{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "unix", Address: filepath.Join(dir, "sock")}},
		PIDFile:   filepath.Join(dir, "pid"),
		FaultFile: filepath.Join(dir, "fault"),
		SickFile:  filepath.Join(dir, "sick"),
		Stderr:    filepath.Join(dir, "stderr"),
		Timeout:   matrixUpgrade, Drain: matrixDrain, Probation: sc.probation,
	}
	r := &trial{service: start(t, "faulty", c), scenario: sc, answer: make(chan string, 1)}
	t.Cleanup(func() {
		if stderr, _ := os.ReadFile(c.Stderr); t.Failed() {
			t.Logf("standard error:\n%s", stderr)
		}
	})
	// The last point of the start: if it were heard of later, it would count as one of the upgrade.
	r.Await("point", func(p printed) bool {
		return p.Event == "Point" && strings.Contains(p.Detail, `"Name":"ReadyFinished"`)
	})
	if sc.older {
		r.held = r.connect(0)
		t.Cleanup(func() { r.held.Close() })
		r.upgradeFrom(r.connect(0))
		r.awaitSilence()
	}
	r.old = r.newestPID()
	r.control = r.connect(r.old)
	t.Cleanup(func() { r.control.Close() })
	r.before = heldCensus(t, r.control)
	r.before = heldCensus(t, r.control) // what the first one costs stays
	r.clients = startClients(r.service)
	return r
}

// awaitSilence waits until the service has nothing more to say of an earlier upgrade, whose points are not those of the next.
func (r *trial) awaitSilence() {
	for said := -1; said != r.seen(0, func(printed) bool { return true }); time.Sleep(100 * time.Millisecond) {
		said = r.seen(0, func(printed) bool { return true })
	}
}

// connect opens a connection that is served by the process, or by any.
func (r *trial) connect(pid int) *client {
	r.t.Helper()
	for deadline := time.Now().Add(cellPatience); time.Now().Before(deadline); {
		conn, err := net.Dial(r.network(0), r.addr(0))
		if err != nil {
			r.t.Fatalf("dial: %v", err)
		}
		c := newClient(conn)
		if who, err := c.ask("who"); err == nil && (pid == 0 || servedBy(who) == pid) {
			return c
		}
		c.Close()
	}
	r.t.Fatalf("process %d does not serve", pid)
	return nil
}

// servedBy reads the pid in an answer; 0 if there is none.
func servedBy(answer string) int {
	words := strings.Fields(strings.TrimSuffix(answer, " close"))
	if len(words) == 0 {
		return 0
	}
	pid, _ := strconv.Atoi(words[len(words)-1])
	return pid
}

// newestPID is the process that has last become ready.
func (r *trial) newestPID() int {
	_, pid := r.Newest()
	return pid
}

// seen counts events from the nth on.
func (r *trial) seen(from int, meant func(printed) bool) (n int) {
	for _, p := range r.Lines()[from:] {
		if meant(p) {
			n++
		}
	}
	return n
}

// begin begins the upgrade, armed with a fault or not. It returns the number of the events before.
func (r *trial) begin(armed string) (from int) {
	r.t.Helper()
	if r.scenario.sick {
		write(r.t, r.config.SickFile, "")
	}
	if armed != "" {
		write(r.t, r.config.FaultFile+".new", armed)
		if err := os.Rename(r.config.FaultFile+".new", r.config.FaultFile); err != nil {
			r.t.Fatal(err)
		}
	}
	from = len(r.Lines())
	go func() { // ends with the connection
		answer, err := r.control.askWithin("upgrade", cellPatience)
		if err == nil && strings.HasPrefix(answer, "upgraded") || err != nil {
			r.control.Close()
		}
		r.answer <- answer
	}()
	return from
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// passages are the points that were passed from the nth event on.
func (r *trial) passages(from int) (all []passage) {
	for _, p := range r.Lines()[from:] {
		if p.Event == "Point" {
			var at passage
			decode(r.t, p.Detail, &at)
			all = append(all, at)
		}
	}
	return all
}

func (r *trial) hasPassed(from int, name string) bool {
	return slices.ContainsFunc(r.passages(from), func(p passage) bool { return p.Name == name })
}

// living are the processes of the service that live, as far as one knows.
func (r *trial) living() (pids []int) {
	for _, pid := range r.PIDs() {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // if it is our child by now
		if alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// until waits for a condition.
func (r *trial) until(what string, condition func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(cellPatience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; living: %v", what, r.living())
		}
	}
}

// reported is the outcome of the upgrade as the old process tells it.
func (r *trial) reported(from int) (succeeded, ok bool) {
	for _, p := range r.Lines()[from:] {
		if p.Event == "UpgradeFinished" && p.PID == r.old {
			succeeded, ok = p.Err == "", true
		}
	}
	return succeeded, ok
}

// awaitSurvivor waits until the upgrade is over, and all processes but one, or all, are gone.
func (r *trial) awaitSurvivor(from int) {
	r.t.Helper()
	r.until("the end of the upgrade", func() bool {
		_, ok := r.reported(from)
		return ok || !slices.Contains(r.living(), r.old)
	})
	r.letOlderGo()
	r.until("a survivor", func() bool {
		living := r.living()
		if len(living) == 0 {
			return true
		}
		if succeeded, _ := r.reported(from); succeeded && living[0] == r.old {
			return false // it is about to drain
		}
		return len(living) == 1 && r.ready(living[0]) && !r.drains(living[0])
	})
}

func (r *trial) ready(pid int) bool {
	return r.seen(0, func(p printed) bool { return p.Event == "ReadyFinished" && p.PID == pid && p.Err == "" }) > 0
}

func (r *trial) drains(pid int) bool {
	return r.seen(0, func(p printed) bool { return p.Event == "DrainStarted" && p.PID == pid }) > 0
}

// letOlderGo ends the connection that the older generation waits for.
func (r *trial) letOlderGo() {
	if r.held != nil {
		r.held.Close()
	}
}

// censusOf asks a process, when the clients have gone.
func (r *trial) censusOf(pid int) census {
	r.clients.halt()
	c := r.connect(pid)
	defer c.Close()
	take := func() census { return normal(heldCensus(r.t, c)) }
	last := take()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if now := take(); now.Goroutines < last.Goroutines || len(now.Descriptors) < len(last.Descriptors) {
			last = now
		}
	}
	return last
}

// normal makes what different processes have comparable.
func normal(c census) census {
	for i, d := range c.Descriptors {
		if _, rest, ok := strings.Cut(d, "/grace-matrix-"); ok {
			_, c.Descriptors[i], _ = strings.Cut(rest, "/")
		} else if kind, rest, ok := strings.Cut(d, "["); ok && !strings.HasPrefix(d, "anon_inode") {
			_, mode, _ := strings.Cut(rest, "] ")
			c.Descriptors[i] = kind + " " + mode
		}
	}
	slices.Sort(c.Descriptors)
	return c
}

// upgradeFrom upgrades by a connection to the process that serves, and waits for the successor.
func (r *trial) upgradeFrom(c *client) {
	r.t.Helper()
	defer c.Close()
	was := r.newestPID()
	if answer, err := c.askWithin("upgrade", cellPatience); err != nil || !strings.HasPrefix(answer, "upgraded") {
		r.t.Fatalf("the undisturbed upgrade: %q, %v", answer, err)
	}
	r.until("the successor to be ready", func() bool { return r.newestPID() != was })
}

// upgradeAndEnd upgrades once more, without a fault, and then ends the service. Nothing is left.
func (r *trial) upgradeAndEnd(survivor int) {
	r.t.Helper()
	r.clients.halt()
	_ = os.Remove(r.config.SickFile)
	r.upgradeFrom(r.connect(survivor))
	last := r.newestPID()
	if last == survivor {
		r.t.Fatalf("process %d serves after another upgrade", last)
	}
	r.connect(last).Close()
	r.until("the end of the survivor", func() bool { living := r.living(); return len(living) == 1 && living[0] == last })
	if err := unix.Kill(last, unix.SIGTERM); err != nil {
		r.t.Error(err)
	}
	r.nothingLeft()
	for _, path := range []string{r.config.PIDFile, r.config.Listen[1].Address} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			r.t.Errorf("%s is left over: %v", path, err)
		}
	}
}

// nothingLeft waits for the end of every process, and asserts that the sockets are gone too.
func (r *trial) nothingLeft() {
	r.t.Helper()
	r.until("the end of all processes", func() bool { return len(r.living()) == 0 && r.HasEnded() })
	for i := range r.config.Listen {
		conn, err := net.Dial(r.network(i), r.addr(i))
		if err != nil {
			continue
		}
		c := newClient(conn)
		defer c.Close()
		who, err := c.ask("who") // another cell may have got the port meanwhile
		if pid := servedBy(who); err != nil || slices.Contains(r.PIDs(), pid) {
			r.t.Errorf("%s is open, and there is no process: %q, %v", r.addr(i), who, err)
		}
	}
}
