package mixed

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// outcome is how the soak went.
type outcome struct {
	*lineage.Outcome
	took  time.Duration
	kinds []*kind
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
	fmt.Fprintf(&b, "\n%d upgrades in %v, %d failed\n", o.Upgrades, o.took.Round(time.Second), len(o.Failures))
	if grown := o.Outcome.String(); grown != "" {
		b.WriteString("\n" + grown)
	}
	return b.String()
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
	var lost error
	if t := o.load(); t.failed > 0 {
		lost = fmt.Errorf("%d of %d requests have failed", t.failed, t.requests)
	}
	return errors.Join(o.Verdict(), lost, o.Growth.MemoryVerdict())
}
