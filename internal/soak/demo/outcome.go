package demo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// table shows each server process when it has left.
type table struct {
	times int // columns of times
}

func newTable(times ...string) *table {
	fmt.Printf("%10s %9s %9s", "generation", "pid", "requests")
	for _, title := range times {
		fmt.Printf(" %13s", title)
	}
	fmt.Println()
	return &table{times: len(times)}
}

// row shows a process; times that have no column are left out.
func (t *table) row(generation, pid int, requests int64, times ...time.Duration) {
	fmt.Printf("%10d %9d %9d", generation, pid, requests)
	for _, d := range times[:t.times] {
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

// outcome is how one way of replacing servers went.
type outcome struct {
	way      string
	upgrades int
	tally
}

// String is a line for the outcome, and one for the kinds of failures if there were any.
func (o outcome) String() string {
	s := fmt.Sprintf("%-14s upgrades=%d requests=%d failed=%d reconnects=%d p99=%s max=%s",
		o.way, o.upgrades, o.requests, o.failed(), o.reconnects, milliseconds(o.latency(0.99)), milliseconds(o.latency(1)))
	if len(o.failures) == 0 {
		return s
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(o.failures)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", o.failures[kind], kind))
	}
	return s + "\n" + strings.Repeat(" ", 15) + "failures: " + strings.Join(kinds, ", ")
}

// seamless is the verdict if besides nobody has had to connect anew.
func (o outcome) seamless(upgrades int) error {
	err := o.verdict(upgrades)
	if o.reconnects > 0 {
		err = errors.Join(err, fmt.Errorf("clients had to connect anew %d times", o.reconnects))
	}
	return err
}

// verdict is nil if the upgrades have kept what the library promises, and were put to the test.
func (o outcome) verdict(upgrades int) error {
	var errs []error
	if n := o.failed(); n > 0 {
		errs = append(errs, fmt.Errorf("%d requests have failed", n))
	}
	if o.upgrades != upgrades {
		errs = append(errs, fmt.Errorf("there were %d upgrades instead of %d", o.upgrades, upgrades))
	}
	if len(o.pids) < upgrades+1 {
		errs = append(errs, fmt.Errorf("only %d processes have answered, which is too few for %d upgrades", len(o.pids), upgrades))
	}
	if few := (keepAliveClients + connectingClients) * (upgrades + 1); o.requests < few {
		errs = append(errs, fmt.Errorf("there were only %d requests, less than one of each client to each process", o.requests))
	}
	return errors.Join(errs...)
}
