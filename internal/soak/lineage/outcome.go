package lineage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Outcome is how the processes of the service have fared.
type Outcome struct {
	Upgrades int     // that succeeded
	Failures []error // of upgrades
	Warnings []error // of anything else that must not happen, such as a drain that is cut short
	Growth   Growth
	before   *snapshot // after the warm-up; nil if the soak did not get that far
	after    *snapshot // at the end
}

// snapshot is the state of the service without load.
type snapshot struct {
	*Census     // of the serving process
	alive   int // generations
}

// Verdict returns nil if no upgrade failed, and no descriptors or goroutines are left over.
func (o *Outcome) Verdict() error {
	errs := slices.Concat(o.Failures, o.Warnings)
	if o.before != nil && o.after != nil && !o.before.equal(o.after.Census) {
		errs = append(errs, fmt.Errorf(
			"the serving process had %v at the beginning, and has %v at the end",
			o.before.Census, o.after.Census))
	}
	return errors.Join(append(errs, o.Growth.verdict())...)
}

// String returns a table of everything that must not grow, or "" if there are no two censuses.
func (o *Outcome) String() string {
	if o.before == nil || o.after == nil {
		return ""
	}
	var t table
	t.row("census", "beginning", "end", "")
	t.row("serving process without load:", "", "", "")
	t.row("  descriptors", o.before.descriptorCount(), o.after.descriptorCount(), "")
	t.row("  goroutines", fmt.Sprint(o.before.Goroutines), fmt.Sprint(o.after.Goroutines), "")
	t.row("  generations alive", fmt.Sprint(o.before.alive), fmt.Sprint(o.after.alive), "")
	t.growth(&o.Growth)
	return t.String()
}

// table has a row for each thing that is counted.
type table struct{ strings.Builder }

func (t *table) row(name, begin, end, note string) {
	row := fmt.Sprintf("%-31s %12s %12s  %s", name, begin, end, note)
	t.WriteString(strings.TrimRight(row, " ") + "\n")
}

// growth adds the rows that compare the generations.
func (t *table) growth(g *Growth) {
	if g.first != nil {
		first, last := g.first.Census, g.last.Census
		note := fmt.Sprintf("%d generations differ", g.differing)
		t.row("new process before its service:", "", "", "")
		t.row("  descriptors", first.descriptorCount(), last.descriptorCount(), note)
		t.row("  goroutines", fmt.Sprint(first.Goroutines), fmt.Sprint(last.Goroutines), "")
	}
	t.row("old process after its service:", "", "", "")
	begin, end, judged := g.trend()
	note := fmt.Sprintf("medians of a tenth of %d generations; at most %+.0f%%",
		len(g.resident), (maxTrend-1)*100)
	if !judged {
		note = fmt.Sprintf("%d generations are too few to judge", len(g.resident))
	}
	t.row("  memory", megabytes(begin), megabytes(end), note)
}

func (c *Census) descriptorCount() string {
	if c.Descriptors == nil {
		return notMeasured
	}
	return fmt.Sprint(c.open())
}

const notMeasured = "not measured" // there is no /proc

func megabytes(n int64) string {
	if n == 0 {
		return notMeasured
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
