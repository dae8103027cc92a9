//go:build linux

package grace

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
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

// undisturbed returns the points that are passed from the start of the upgrade on, and the census at the end.
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

// choose returns the cells to run. A sample has those whose names, hashed with the seed, come first: so that it is the same when a
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

// row returns the marks of a point, and whether one of its cells was run.
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
