package lineage

import (
	"fmt"
	"slices"
)

// Growth compares the generations. Each takes a census before its first client, when nothing
// depends on the load: it must be the same in all of them. Each also reports its memory when its
// drain starts.
type Growth struct {
	first, last    *Report // with the censuses before the first client
	counted        int     // generations with such a census
	differing      int     // generations whose census differs from the first
	firstDiffering *Report
	resident       []int64 // memory at the start of each drain; empty if it is not measured
}

// add records a report. The generations of the warm-up do not count.
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
		if !r.Census.equal(g.first.Census) {
			g.differing++
			if g.firstDiffering == nil {
				g.firstDiffering = &r
			}
		}
	}
}

// Memory is judged by its trend: the median of the last tenth of the generations may be at most
// maxTrend times that of the first tenth. Single generations differ by as much, depending on what
// the kernel has mapped and when garbage was collected. The medians of runs without growth differ
// by 2 percent. Whatever a process hands to the next one adds up: if each upgrade adds one
// kilobyte, 1,000 upgrades exceed 10 percent of some 7 MB.
const (
	maxTrend   = 1.10
	fewSamples = 100 // with fewer, the medians would mean nothing
)

// trend returns the medians; judged is false if there are too few samples.
func (g *Growth) trend() (begin, end int64, judged bool) {
	if len(g.resident) == 0 {
		return 0, 0, false
	}
	n := max(len(g.resident)/10, 1)
	begin, end = median(g.resident[:n]), median(g.resident[len(g.resident)-n:])
	return begin, end, len(g.resident) >= fewSamples
}

func median(values []int64) int64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// Latest describes the newest generations, for a line of progress.
func (g *Growth) Latest() string {
	if g.last == nil {
		return ""
	}
	c := g.last.Census
	s := fmt.Sprintf("new process: %s descriptors, %d goroutines",
		c.descriptorCount(), c.Goroutines)
	if n := len(g.resident); n > 0 {
		s += ", old one: " + megabytes(g.resident[n-1])
	}
	return s
}

// tolerated returns how many of the counted generations may differ, which is one in fifty. On an
// overloaded machine, something that is about to end may outlast a census. Anything that a process
// hands on would make all later generations differ.
func tolerated(counted int) int { return counted / 50 }

// verdict returns nil if all generations began with the same census.
func (g *Growth) verdict() error {
	d := g.firstDiffering
	if d == nil || g.differing <= tolerated(g.counted) {
		return nil
	}
	return fmt.Errorf(
		"%d generations began otherwise than generation %d, which had %v; the first is %d with %v",
		g.differing, g.first.Generation, g.first.Census, d.Generation, d.Census)
}

// MemoryVerdict returns nil unless the memory has grown.
func (g *Growth) MemoryVerdict() error {
	begin, end, judged := g.trend()
	if !judged || float64(end) <= maxTrend*float64(begin) {
		return nil
	}
	return fmt.Errorf("the memory of a generation has grown from %s to %s",
		megabytes(begin), megabytes(end))
}
