package mixed

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// outcome is the result of the soak.
type outcome struct {
	*lineage.Outcome
	took  time.Duration
	kinds []*kind
}

// String returns two tables: what the clients saw, and what must not grow.
func (o *outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-17s %10s %7s %12s %9s %17s\n",
		"clients", "requests", "failed", "connections", "slowest", "upgrades outlived")
	row := func(name string, t tally) {
		fmt.Fprintf(&b, "%-17s %10d %7d %12d %8dms %17d\n",
			name, t.requests, t.failed, t.dials, t.slowest.Milliseconds(), t.outlived)
	}
	for _, k := range o.kinds {
		row(k.name, k.tally())
	}
	all := sum(o.kinds)
	row("all", all)
	for _, err := range all.failures {
		fmt.Fprintf(&b, "  %v\n", err)
	}
	fmt.Fprintf(&b, "\n%d upgrades in %v, %d failed\n",
		o.Upgrades, o.took.Round(time.Second), len(o.Failures))
	if grown := o.Outcome.String(); grown != "" {
		b.WriteString("\n" + grown)
	}
	return b.String()
}

// verdict returns nil if nothing was lost and nothing has grown.
func (o *outcome) verdict() error {
	var lost error
	if t := sum(o.kinds); t.failed > 0 {
		lost = fmt.Errorf("%d of %d requests failed", t.failed, t.requests)
	}
	return errors.Join(o.Verdict(), lost, o.Growth.MemoryVerdict())
}
