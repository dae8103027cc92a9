package lineage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Outcome is how the processes of the service have fared.
type Outcome struct {
	Upgrades int     // that have succeeded
	Failures []error // of upgrades
	Troubles []error // what else should not have happened
	Growth   Growth
	before   *rest // after the first upgrades; nil if it did not come to that
	after    *rest // at the end
}

// rest is what there is without load.
type rest struct {
	*Census     // of the serving process
	alive   int // generations
}

// Verdict is nil if no upgrade has failed, and no descriptors or goroutines are left over.
func (o *Outcome) Verdict() error {
	errs := slices.Concat(o.Failures, o.Troubles)
	if o.before != nil && o.after != nil && !o.before.same(o.after.Census) {
		errs = append(errs, fmt.Errorf("the serving process had %v at the beginning, and has %v at the end", o.before.Census, o.after.Census))
	}
	return errors.Join(append(errs, o.Growth.verdict())...)
}

// String is a table of what has grown; "" if it did not come to that.
func (o *Outcome) String() string {
	if o.before == nil || o.after == nil {
		return ""
	}
	var b strings.Builder
	row := func(name, begin, end, note string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-31s %12s %12s  %s", name, begin, end, note), " ") + "\n")
	}
	row("census", "beginning", "end", "")
	row("serving process without load:", "", "", "")
	row("  descriptors", o.before.openOrUnknown(), o.after.openOrUnknown(), "")
	row("  goroutines", fmt.Sprint(o.before.Goroutines), fmt.Sprint(o.after.Goroutines), "")
	row("  generations alive", fmt.Sprint(o.before.alive), fmt.Sprint(o.after.alive), "")
	if first, last := o.Growth.first, o.Growth.last; first != nil {
		note := fmt.Sprintf("%d generations differ", o.Growth.differing)
		row("new process before its service:", "", "", "")
		row("  descriptors", first.Census.openOrUnknown(), last.Census.openOrUnknown(), note)
		row("  goroutines", fmt.Sprint(first.Census.Goroutines), fmt.Sprint(last.Census.Goroutines), "")
	}
	row("old process after its service:", "", "", "")
	begin, end, judged := o.Growth.trend()
	note := fmt.Sprintf("medians of a tenth of %d generations; at most %+.0f%%", len(o.Growth.resident), (maxTrend-1)*100)
	if !judged {
		note = fmt.Sprintf("%d generations are too few to judge", len(o.Growth.resident))
	}
	row("  memory", megabytes(begin), megabytes(end), note)
	return b.String()
}

func (c *Census) openOrUnknown() string {
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
