package lineage

import (
	"fmt"
	"slices"
)

// Growth compares the generations. Each takes a census before its first client, when nothing depends on the load: it has to
// be the same in all of them. And each says how much memory it has when it has served.
type Growth struct {
	first, last *Report // with the censuses before the first client
	counted     int     // generations with such a census
	differing   int     // generations with another census than the first
	different   *Report // the first of them
	resident    []int64 // memory after the service; none if it is not measured
}

// add takes a report. The first generations do not count.
func (g *Growth) add(r Report) {
	switch {
	case r.Generation <= WarmUps || r.Census == nil:
	case r.What == Draining && r.Census.Resident > 0:
		g.resident = append(g.resident, r.Census.Resident)
	case r.What == Ready:
		g.last = &r
		g.counted++
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
func (g *Growth) trend() (begin, end int64, judged bool) {
	if len(g.resident) == 0 {
		return 0, 0, false
	}
	n := max(len(g.resident)/10, 1)
	return median(g.resident[:n]), median(g.resident[len(g.resident)-n:]), len(g.resident) >= fewSamples
}

func median(values []int64) int64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// Latest is for a line of progress.
func (g *Growth) Latest() string {
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

// odd is how many generations out of so many, one in fifty, may differ: on a machine that is overloaded, what is about to end may outlive
// all the patience of a census. What is handed on makes all that follow differ.
func odd(counted int) int { return counted / 50 }

// verdict is nil if all generations have begun with the same.
func (g *Growth) verdict() error {
	d := g.different
	if d == nil || g.differing <= odd(g.counted) {
		return nil
	}
	return fmt.Errorf("%d generations began with something else than generation %d, which had %v; the first is %d with %v",
		g.differing, g.first.Generation, g.first.Census, d.Generation, d.Census)
}

// MemoryVerdict is nil if the memory has not grown.
func (g *Growth) MemoryVerdict() error {
	begin, end, judged := g.trend()
	if !judged || float64(end) <= maxTrend*float64(begin) {
		return nil
	}
	return fmt.Errorf("the memory of a generation has grown from %s to %s", megabytes(begin), megabytes(end))
}
