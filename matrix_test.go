//go:build linux

package grace

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How the matrix is run. By default it is a small sample, without the faults that wait for timeouts.
const (
	envMatrix      = "GRACE_MATRIX"       // "all": every cell
	envMatrixSeed  = "GRACE_MATRIX_SEED"  // repeats a sample
	envMatrixCells = "GRACE_MATRIX_CELLS" // the size of the sample, of all kinds
	fewCells       = 8
)

// The upgrade and drain timeouts of the services of the matrix. The first has to be enough for a start on a crowded machine.
const (
	matrixUpgrade = 4 * time.Second
	matrixDrain   = 5 * time.Second
	matrixProbe   = 300 * time.Millisecond
)

// cellPatience is how long a cell waits for what must happen: longer than all timeouts of grace one after another.
const cellPatience = 45 * time.Second

// scenario is a course of an upgrade.
type scenario struct {
	name      string
	probation time.Duration
	sick      bool // the successor does not become ready
	older     bool // a generation drains while the upgrade runs
}

var scenarios = []scenario{
	{name: "plain"},
	{name: "probation", probation: matrixProbe},
	{name: "failing", sick: true},
	{name: "draining", older: true},
}

// oldBirth is the process that upgrades.
func (sc scenario) oldBirth() int {
	if sc.older {
		return 2
	}
	return 1
}

// sides of a handoff, by birth relative to the old process.
var sides = map[int]string{-1: "older", 0: "old", 1: "new"}

func (sc scenario) side(birth int) string { return sides[birth-sc.oldBirth()] }

// cell is a fault at a point.
type cell struct {
	scenario scenario
	at       passage
	fault    fault
}

func (c cell) side() string { return c.scenario.side(c.at.Birth) }

func (c cell) String() string {
	return fmt.Sprintf("%s/%s/%s/%s", c.scenario.name, c.side(), c.at, c.fault)
}

// link is the one that joins the victim with the other side.
func (c cell) link() string {
	if c.side() == "new" {
		return "parent"
	}
	return "successor"
}

// applies reports whether the fault can happen at the point.
func (c cell) applies() bool {
	switch c.fault {
	case faultKill, faultStop, faultExit, faultPanic:
		return true
	case faultClose:
		return c.at.Parent && c.link() == "parent" || c.at.Successor && c.link() == "successor"
	case faultCancel:
		return c.at.Caller && c.side() != "older"
	case faultRepeated:
		return c.at.Sends && strings.HasPrefix(c.at.Name, "after ")
	}
	return c.at.Sends
}

// TestMatrix has each fault happen at each point of each scenario, with real processes under load, and looks at who serves in
// the end, and at what it has cost whom. The points are those that an upgrade without a fault passes.
func TestMatrix(t *testing.T) {
	seed := matrixSeed(t)
	mx := &matrix{seed: seed, results: map[string]string{}}
	for _, sc := range scenarios {
		mx.courses = append(mx.courses, rehearse(t, sc))
	}
	cells := mx.choose(t)
	fmt.Printf("matrix: %d of %d cells, %s=%d\n", len(cells), len(mx.cells()), envMatrixSeed, seed)
	began := time.Now()
	t.Cleanup(func() { mx.print(time.Since(began)) })
	for _, c := range cells {
		reference := mx.reference(c.scenario)
		t.Run(strings.ReplaceAll(c.String(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			mx.enter(c, "F")
			t.Cleanup(func() {
				if t.Failed() {
					fmt.Printf("matrix: failed: %s\n", c) // at once, since the whole takes long
				}
			})
			outcome := runCell(t, c, reference)
			if !t.Failed() {
				mx.enter(c, outcome)
			}
		})
	}
}

func matrixSeed(t *testing.T) uint64 {
	text, ok := os.LookupEnv(envMatrixSeed)
	if !ok {
		return rand.Uint64N(1e6)
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", envMatrixSeed, err)
	}
	return seed
}

// course is what an undisturbed run of a scenario looks like.
type course struct {
	scenario scenario
	points   []passage
	unstable []passage // that not every run passes
	census   census    // of the process that serves in the end
}

// rehearse runs a scenario twice. A point that only one run passes cannot be aimed at.
func rehearse(t *testing.T, sc scenario) course {
	t.Helper()
	var runs [2][]passage
	c := course{scenario: sc}
	for i := range runs {
		runs[i], c.census = undisturbed(t, sc) // no subtest, so that -run cannot leave it out
		if t.Failed() {
			t.FailNow()
		}
	}
	for _, p := range runs[0] {
		if slices.ContainsFunc(runs[1], func(q passage) bool { return p.point == q.point }) {
			c.points = append(c.points, p)
		} else {
			c.unstable = append(c.unstable, p)
		}
	}
	return c
}

// undisturbed gives the points that are passed from the start of the upgrade on, and the census at the end.
func undisturbed(t *testing.T, sc scenario) ([]passage, census) {
	r := newTrial(t, sc)
	armed := ""
	if sc.sick { // a fault that does not come has the old process wait for it: the new one passes all of its points
		armed = toJSON(arming{Point: point{sc.oldBirth() + 1, "none", 1}})
	}
	from := r.begin(armed)
	if sc.sick {
		r.until("the end of the successor", func() bool { return r.spawned(from) && slices.Equal(r.living(), []int{r.old}) })
		_ = os.Remove(r.config.FaultFile)
	}
	r.awaitSurvivor(from)
	survivor := r.living()[0]
	if survivor != r.old {
		r.until("the last points", func() bool {
			return r.hasPassed(from, "HookFinished OnParentExit") && r.hasPassed(from, "AncestorExited") == sc.older
		})
	}
	points := r.passages(from)
	c := r.censusOf(survivor)
	if reported, ok := r.reported(from); !ok || reported == sc.sick {
		t.Errorf("the upgrade has succeeded: %v", reported)
	}
	r.upgradeAndEnd(survivor)
	return points, c
}

// matrix collects what comes of the cells.
type matrix struct {
	seed    uint64
	courses []course
	mu      sync.Mutex
	results map[string]string
}

// cells are all faults at all points to which they apply.
func (mx *matrix) cells() (all []cell) {
	for _, co := range mx.courses {
		for _, p := range co.points {
			for _, f := range faults {
				if c := (cell{co.scenario, p, f}); c.applies() {
					all = append(all, c)
				}
			}
		}
	}
	return all
}

// choose gives the cells to run. A sample has those whose names, hashed with the seed, come first: so that it is the same when a
// point is added elsewhere.
func (mx *matrix) choose(t *testing.T) []cell {
	all := mx.cells()
	if os.Getenv(envMatrix) == "all" {
		return all
	}
	n := fewCells
	if text := os.Getenv(envMatrixCells); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", envMatrixCells, err)
		}
	} else {
		all = slices.DeleteFunc(all, func(c cell) bool { return c.fault == faultStop || c.fault == faultStalled })
	}
	rank := func(c cell) uint64 {
		h := fnv.New64a()
		fmt.Fprint(h, mx.seed, c)
		return rand.New(rand.NewPCG(h.Sum64(), mx.seed)).Uint64()
	}
	slices.SortFunc(all, func(a, b cell) int {
		if rank(a) < rank(b) {
			return -1
		}
		return 1
	})
	return all[:min(n, len(all))]
}

// reference is the census of a successor after an upgrade that nothing has disturbed.
func (mx *matrix) reference(sc scenario) census {
	i := slices.IndexFunc(mx.courses, func(co course) bool { return co.scenario.probation == sc.probation && !co.scenario.sick })
	return mx.courses[i].census
}

func (mx *matrix) enter(c cell, result string) {
	mx.mu.Lock()
	defer mx.mu.Unlock()
	mx.results[c.String()] = result
}

// print shows the matrix: points by faults.
func (mx *matrix) print(took time.Duration) {
	mx.mu.Lock()
	defer mx.mu.Unlock()
	var b strings.Builder
	counts := map[string]int{}
	fmt.Fprintf(&b, "\nWho serves in the end: o old, n new, - nobody is left who could; F failed; . not run; blank: cannot happen\n")
	for _, co := range mx.courses {
		for _, side := range []string{"older", "old", "new"} {
			mx.printSide(&b, co, side, counts)
		}
		for _, p := range co.unstable {
			fmt.Fprintf(&b, "(left out, since not every run passes it: %s %s)\n", co.scenario.side(p.Birth), p)
		}
	}
	passed := counts["o"] + counts["n"] + counts["-"]
	fmt.Fprintf(&b, "\nmatrix: %d cells passed (old serves %d, new %d, nobody left %d), %d failed, %d not run; %s=%d; %v\n",
		passed, counts["o"], counts["n"], counts["-"], counts["F"], counts["."], envMatrixSeed, mx.seed, took.Round(time.Second))
	fmt.Print(b.String())
}

func (mx *matrix) printSide(b *strings.Builder, co course, side string, counts map[string]int) {
	first := true
	for _, p := range co.points {
		if co.scenario.side(p.Birth) != side {
			continue
		}
		row, run := mx.row(co.scenario, p, counts)
		if !run {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%-44s", co.scenario.name+", "+side)
			for _, f := range faults {
				fmt.Fprintf(b, " %-6.6s", f)
			}
			b.WriteString("\n")
			first = false
		}
		fmt.Fprintf(b, "  %-42s%s\n", p, row)
	}
}

// row gives the marks of a point, and whether one of its cells was run.
func (mx *matrix) row(sc scenario, p passage, counts map[string]int) (marks string, run bool) {
	for _, f := range faults {
		c := cell{sc, p, f}
		mark := " "
		if c.applies() {
			mark = "."
			if r, ok := mx.results[c.String()]; ok {
				mark, run = r, true
			}
			counts[mark]++
		}
		marks += fmt.Sprintf(" %-6s", mark)
	}
	return marks, run
}

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
			t.Logf("events:\n%s\nstandard error:\n%s", r.story(), stderr)
		}
	})
	if sc.older {
		r.held = r.connect(0)
		t.Cleanup(func() { r.held.Close() })
		r.upgradeFrom(r.connect(0))
	}
	r.old = r.newestPID()
	r.control = r.connect(r.old)
	t.Cleanup(func() { r.control.Close() })
	r.before = heldCensus(t, r.control)
	r.before = heldCensus(t, r.control) // what the first one costs stays
	r.clients = startClients(r.service)
	return r
}

// story tells what has happened, a line for each event and point.
func (r *trial) story() string {
	var b strings.Builder
	r.eventsFrom(0, func(p printed) {
		var at passage
		if p.Event == "Point" && json.Unmarshal([]byte(p.Detail), &at) == nil {
			fmt.Fprintf(&b, "%d of birth %d: %s\n", p.PID, at.Birth, at)
		} else {
			fmt.Fprintf(&b, "%d %s %s %s\n", p.PID, p.Event, p.Err, p.Detail)
		}
	})
	return b.String()
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
func (r *trial) newestPID() (pid int) {
	r.eventsFrom(0, func(p printed) {
		if p.Event == "ReadyFinished" && p.Err == "" {
			pid = p.PID
		}
	})
	return pid
}

// eventsFrom calls f for each event from the nth on.
func (r *trial) eventsFrom(n int, f func(printed)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.events[n:] {
		f(p)
	}
}

// seen counts events from the nth on.
func (r *trial) seen(from int, meant func(printed) bool) (n int) {
	r.eventsFrom(from, func(p printed) {
		if meant(p) {
			n++
		}
	})
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
	r.mu.Lock()
	from = len(r.events)
	r.mu.Unlock()
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
	r.eventsFrom(from, func(p printed) {
		if p.Event == "Point" {
			var at passage
			decode(r.t, p.Detail, &at)
			all = append(all, at)
		}
	})
	return all
}

func (r *trial) hasPassed(from int, name string) bool {
	return slices.ContainsFunc(r.passages(from), func(p passage) bool { return p.Name == name })
}

// living are the processes of the service that live, as far as one knows.
func (r *trial) living() (pids []int) {
	for _, pid := range r.pids() {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // if it is our child by now
		if alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// until waits for a condition, which it looks at whenever there is an event, and now and then.
func (r *trial) until(what string, condition func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(cellPatience); !condition(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; living: %v", what, r.living())
		}
		r.mu.Lock()
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-time.After(5 * time.Millisecond): // processes end without an event
		}
	}
}

// reported is the outcome of the upgrade as the old process tells it.
func (r *trial) reported(from int) (succeeded, ok bool) {
	r.eventsFrom(from, func(p printed) {
		if p.Event == "UpgradeFinished" && p.PID == r.old {
			succeeded, ok = p.Err == "", true
		}
	})
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
	r.until("the end of all processes", func() bool { return len(r.living()) == 0 && isClosed(r.ended) })
	for i := range r.config.Listen {
		if c, err := net.Dial(r.network(i), r.addr(i)); err == nil {
			c.Close()
			r.t.Errorf("%s is open, and there is no process", r.addr(i))
		}
	}
}

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
	h := r.history(c, from, r.await("the fault", fired).PID)
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

// history is what has happened in a cell, as far as it decides who may serve.
type history struct {
	r      *trial
	cell   cell
	from   int
	victim int // the process of the fault
	fired  int // the number of the event
}

func (r *trial) history(c cell, from, victim int) *history {
	h := &history{r: r, cell: c, from: from, victim: victim}
	r.mu.Lock()
	defer r.mu.Unlock()
	h.fired = slices.IndexFunc(r.events, func(p printed) bool { return p.Event == "Fired" })
	return h
}

// name of a process as the matrix prints it.
func (h *history) name(pid int) string {
	if pid == h.r.old {
		return "o"
	}
	return "n"
}

// point reports whether a side had passed a point before the nth event; 0 is at any time.
func (h *history) passed(side, name string, before int) bool {
	n, found := h.from, false
	h.r.eventsFrom(h.from, func(p printed) {
		var at passage
		if p.Event == "Point" && (before == 0 || n < before) && json.Unmarshal([]byte(p.Detail), &at) == nil {
			found = found || h.cell.scenario.side(at.Birth) == side && at.Name == name
		}
		n++
	})
	return found
}

// promised reports whether the new process has said that it serves: from then on nobody else may.
func (h *history) promised() bool { return h.passed("new", "after send Serving", 0) }

// spawned reports whether there is, or was, a successor.
func (r *trial) spawned(from int) bool {
	return r.seen(from, func(p printed) bool { return p.Event == "Spawned" }) > 0
}

// expected says who is to serve, by the table of the design. It is computed from what had happened when the fault did.
func (h *history) expected() string {
	c := h.cell
	if c.fault.deadly() {
		return h.expectedAfterDeath()
	}
	succeeded, ok := h.r.reported(h.from)
	switch {
	case !ok: // stopped for so long that the new process has ended it
		return "n"
	case c.fault == faultCancel && c.side() == "old" && !h.passed("old", "before send Commit", h.fired):
		return "o"
	case c.fault == faultCancel && c.side() == "old" && h.passed("old", "after send Commit", h.fired+1):
		return "n"
	case c.fault == faultCancel && c.side() == "new" && !h.passed("new", "before send Serving", h.fired):
		return "o"
	case c.side() != "old" && h.passed("new", "after send Serving", h.fired+1):
		return "n"
	case succeeded:
		return "n"
	}
	return "o"
}

func (h *history) expectedAfterDeath() string {
	switch side := h.cell.side(); {
	case side == "older":
		return "n"
	case side == "new" && h.promised():
		return "-"
	case side == "new":
		return "o"
	case h.r.spawned(h.from) && !h.cell.scenario.sick:
		return "n"
	}
	return "-"
}

// outlast lets a stopped process go on, when the other side has waited for as long as it ever does: until it has come to a
// conclusion, or all its timeouts have passed.
func (r *trial) outlast(h *history) {
	stopped := time.Now()
	waits := matrixUpgrade
	if h.cell.side() == "old" && h.r.spawned(h.from) && !h.passed("new", "after receive Hello", 0) {
		waits = helloTimeout
	}
	r.until("the other side to lose its patience", func() bool {
		switch {
		case !slices.Contains(r.living(), h.victim):
			return true
		case h.cell.side() == "older":
			return false // it is ended
		case h.cell.side() == "old":
			return !h.promised() && time.Since(stopped) > waits+500*time.Millisecond
		}
		if h.promised() {
			return !slices.Contains(r.living(), r.old)
		}
		_, over := r.reported(h.from)
		return over
	})
	if slices.Contains(r.living(), h.victim) {
		_ = unix.Kill(h.victim, unix.SIGCONT)
	}
}

// casualty is the process that had no chance to finish its work; 0 if there is none.
func (h *history) casualty() int {
	switch succeeded, _ := h.r.reported(h.from); {
	case h.cell.fault.deadly(), h.cutOff(h.victim):
		return h.victim
	case (h.cell.fault == faultClose || h.cell.fault == faultTruncated) && h.passed("old", "after send Commit", 0) && !succeeded:
		// The old process has broken the link after Commit, and cannot know that the new one serves; nor can that know that it
		// must not. It is killed, with what it has accepted meanwhile. No protocol can help: these are the two generals.
		for _, pid := range h.r.pids() {
			if pid != h.r.old && h.cutOff(pid) {
				return pid
			}
		}
	}
	return 0
}

// checkOneServed asserts that the new process has not served beside the old one, unless that had told it to.
func (h *history) checkOneServed() {
	h.r.t.Helper()
	if succeeded, ok := h.r.reported(h.from); !ok || succeeded || h.passed("new", "before send Serving", 0) {
		return
	}
	for _, pid := range h.r.pids() {
		if served := func(p printed) bool { return p.Event == "ReadyFinished" && p.Err == "" && p.PID == pid }; pid != h.r.old && h.r.seen(h.from, served) > 0 {
			h.r.t.Errorf("process %d has served, and the old one serves on", pid)
		}
	}
}

// cutOff reports whether a process has ended without a drain.
func (h *history) cutOff(pid int) bool {
	return !slices.Contains(h.r.living(), pid) &&
		h.r.seen(0, func(p printed) bool { return p.PID == pid && p.Event == "DrainFinished" }) == 0
}

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
