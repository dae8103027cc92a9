package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// outcome is how the soak went.
type outcome struct {
	took     time.Duration
	upgrades int     // that have succeeded
	failures []error // of upgrades
	troubles []error // see lineage
	kinds    []*kind
	before   *rest // after the first upgrades; nil if it did not come to that
	after    *rest // at the end
	growth   growth
}

// rest is what there is without load.
type rest struct {
	*census     // of the serving process
	alive   int // generations
}

// growth compares the generations. Each takes a census before its first client, when nothing depends on the load: it has to
// be the same in all of them. And each says how much memory it has when it has served.
type growth struct {
	first, last *report // with the censuses before the first client
	differing   int     // generations with another census than the first
	different   *report // the first of them
	resident    []int64 // memory after the service; none if it is not measured
}

// add takes a report with a census. The first generations do not count.
func (g *growth) add(r report) {
	switch {
	case r.Generation <= warmUps:
	case r.What == draining && r.Census.Resident > 0:
		g.resident = append(g.resident, r.Census.Resident)
	case r.What == ready:
		g.last = &r
		if g.first == nil {
			g.first = &r
		}
		if !r.Census.same(g.first.Census) {
			g.differing++
			if g.different == nil {
				g.different = &r
			}
		}
	}
}

// Memory is judged by its trend: the median of the last tenth of the generations may not be more than maxTrend times that of
// the first tenth. Single generations differ by as much, by what the kernel has mapped and when garbage was collected; the
// medians of runs without growth by 2 percent. What a process hands to the next adds up: 10 percent of some 7 MB are passed
// in 1,000 upgrades if each adds one kilobyte.
const (
	maxTrend   = 1.10
	fewSamples = 100 // for which the medians would mean nothing
)

// trend gives the medians; judged is false if there are not enough samples.
func (g *growth) trend() (begin, end int64, judged bool) {
	if len(g.resident) == 0 {
		return 0, 0, false
	}
	n := max(len(g.resident)/10, 1)
	return median(g.resident[:n]), median(g.resident[len(g.resident)-n:]), len(g.resident) >= fewSamples
}

func median(values []int64) int64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// latest is for a line of progress.
func (g *growth) latest() string {
	if g.last == nil {
		return ""
	}
	c := g.last.Census
	s := fmt.Sprintf("new process: %s descriptors, %d goroutines", c.openOrUnknown(), c.Goroutines)
	if n := len(g.resident); n > 0 {
		s += ", old one: " + megabytes(g.resident[n-1])
	}
	return s
}

// String is two tables: what the clients have seen, and what has grown.
func (o *outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-17s %10s %7s %12s %9s %17s\n", "clients", "requests", "failed", "connections", "slowest", "upgrades outlived")
	row := func(name string, t tally) {
		fmt.Fprintf(&b, "%-17s %10d %7d %12d %8dms %17d\n", name, t.requests, t.failed, t.dials, t.slowest.Milliseconds(), t.outlived)
	}
	for _, k := range o.kinds {
		row(k.name, k.tally())
	}
	row("all", o.load())
	for _, err := range o.load().failures {
		fmt.Fprintf(&b, "  %v\n", err)
	}
	fmt.Fprintf(&b, "\n%d upgrades in %v, %d failed\n", o.upgrades, o.took.Round(time.Second), len(o.failures))
	if o.before != nil && o.after != nil {
		b.WriteString("\n" + o.censuses())
	}
	return b.String()
}

func (o *outcome) censuses() string {
	var b strings.Builder
	row := func(name, begin, end, note string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-31s %12s %12s  %s", name, begin, end, note), " ") + "\n")
	}
	row("census", "beginning", "end", "")
	row("serving process without load:", "", "", "")
	row("  descriptors", o.before.openOrUnknown(), o.after.openOrUnknown(), "")
	row("  goroutines", fmt.Sprint(o.before.Goroutines), fmt.Sprint(o.after.Goroutines), "")
	row("  generations alive", fmt.Sprint(o.before.alive), fmt.Sprint(o.after.alive), "")
	if first, last := o.growth.first, o.growth.last; first != nil {
		note := fmt.Sprintf("%d generations differ", o.growth.differing)
		row("new process before its service:", "", "", "")
		row("  descriptors", first.Census.openOrUnknown(), last.Census.openOrUnknown(), note)
		row("  goroutines", fmt.Sprint(first.Census.Goroutines), fmt.Sprint(last.Census.Goroutines), "")
	}
	row("old process after its service:", "", "", "")
	begin, end, judged := o.growth.trend()
	note := fmt.Sprintf("medians of a tenth of %d generations; at most %+.0f%%", len(o.growth.resident), (maxTrend-1)*100)
	if !judged {
		note = fmt.Sprintf("%d generations are too few to judge", len(o.growth.resident))
	}
	row("  memory", megabytes(begin), megabytes(end), note)
	return b.String()
}

func (c *census) openOrUnknown() string {
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

// load is what all clients have seen.
func (o *outcome) load() tally {
	var total tally
	for _, k := range o.kinds {
		total = total.plus(k.tally())
	}
	return total
}

// verdict is nil if nothing was lost and nothing has grown.
func (o *outcome) verdict() error {
	errs := slices.Concat(o.failures, o.troubles)
	if t := o.load(); t.failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d requests have failed", t.failed, t.requests))
	}
	if o.before != nil && o.after != nil && !o.before.same(o.after.census) {
		errs = append(errs, fmt.Errorf("the serving process had %v at the beginning, and has %v at the end", o.before.census, o.after.census))
	}
	if d := o.growth.different; d != nil {
		errs = append(errs, fmt.Errorf("%d generations began with something else than generation %d, which had %v; the first is %d with %v",
			o.growth.differing, o.growth.first.Generation, o.growth.first.Census, d.Generation, d.Census))
	}
	if begin, end, judged := o.growth.trend(); judged && float64(end) > maxTrend*float64(begin) {
		errs = append(errs, fmt.Errorf("the memory of a generation has grown from %s to %s", megabytes(begin), megabytes(end)))
	}
	return errors.Join(errs...)
}
