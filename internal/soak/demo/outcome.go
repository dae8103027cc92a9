package demo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
)

// table prints a row for each server process that leaves.
type table struct {
	columns  int // of times
	tookOver map[int]time.Duration
	drained  map[int]time.Duration
}

func newTable(times ...string) *table {
	fmt.Printf("%10s %9s %9s", "generation", "pid", "requests")
	for _, title := range times {
		fmt.Printf(" %13s", title)
	}
	fmt.Println()
	return &table{
		columns:  len(times),
		tookOver: make(map[int]time.Duration), drained: make(map[int]time.Duration),
	}
}

// note records a report.
func (t *table) note(r lineage.Report) {
	switch r.What {
	case lineage.Upgraded:
		t.tookOver[r.Successor] = r.Took
	case lineage.Drained:
		t.drained[r.PID] = r.Took
	case lineage.Left:
		t.row(r.Generation, r.PID, r.Handled, t.tookOver[r.PID], t.drained[r.PID])
	}
}

// row prints the row of a process, without the times that have no column.
func (t *table) row(generation, pid int, requests int64, times ...time.Duration) {
	fmt.Printf("%10d %9d %9d", generation, pid, requests)
	for _, d := range times[:t.columns] {
		fmt.Printf(" %13s", milliseconds(d))
	}
	fmt.Println()
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", d.Seconds()*1000)
}

// outcome is the result of one way to replace servers.
type outcome struct {
	way      string
	upgrades int
	tally
}

// String returns two lines for the outcome, and one for each kind of failure. They fit 80 columns.
func (o outcome) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-14s upgrades=%d requests=%d failed=%d reconnects=%d\n%sp99=%s max=%s",
		o.way, o.upgrades, o.requests, o.failed(), o.reconnects,
		indent, milliseconds(o.latency(0.99)), milliseconds(o.latency(1)))
	for _, kind := range slices.Sorted(maps.Keys(o.failures)) {
		fmt.Fprintf(&s, "\n%s%d failed: %s", indent, o.failures[kind], kind)
	}
	return s.String()
}

// indent is as wide as the name of a way.
var indent = strings.Repeat(" ", 15)

// seamless is verdict, and returns an error if any client had to reconnect.
func (o outcome) seamless(upgrades int) error {
	err := o.verdict(upgrades)
	if o.reconnects > 0 {
		err = errors.Join(err, fmt.Errorf("clients had to reconnect %d times", o.reconnects))
	}
	return err
}

// verdict returns nil if the upgrades lost nothing, and the load was enough to tell.
func (o outcome) verdict(upgrades int) error {
	var errs []error
	if n := o.failed(); n > 0 {
		errs = append(errs, fmt.Errorf("%d requests failed", n))
	}
	if o.upgrades != upgrades {
		errs = append(errs, fmt.Errorf("%d upgrades instead of %d", o.upgrades, upgrades))
	}
	if n := len(o.pids); n < upgrades+1 {
		errs = append(errs, fmt.Errorf(
			"only %d processes answered, too few for %d upgrades", n, upgrades))
	}
	if few := (keepAliveClients + connectingClients) * (upgrades + 1); o.requests < few {
		errs = append(errs, fmt.Errorf(
			"only %d requests, fewer than one of each client to each process", o.requests))
	}
	return errors.Join(errs...)
}
