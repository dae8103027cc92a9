//go:build linux

package grace

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An upgrade that is stopped between Commit and Serving, for longer than the old process waits for
// Serving, succeeds when it goes on: Serving has come, or comes at once. No client notices more
// than the pause.
func TestStopBetweenCommitAndServing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at   point
		both bool // processes are stopped, as by a suspend or the freezer of a container
	}{
		"the old process": {point{1, "after send Commit", 1}, false},
		"both processes":  {point{2, "before send Serving", 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTrial(t, scenarios[slices.IndexFunc(scenarios, func(s scenario) bool {
				return s.name == "plain"
			})])
			from := r.begin(toJSON(arming{Point: c.at, Fault: faultStop}))
			isFired := func(p printed) bool { return p.Event == "Fired" }
			stopped := []int{r.Await("the stop", isFired).PID}
			if c.both {
				stopped = append(stopped, r.old)
			}
			for _, pid := range stopped {
				if err := stopParent(pid); err != nil {
					t.Fatal(err)
				}
			}
			since := time.Now()
			r.until("the old process's patience to end", func() bool {
				return time.Since(since) > commitTimeout+time.Second
			})
			for _, pid := range slices.Backward(stopped) { // the old one looks at its clock first
				if err := unix.Kill(pid, unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			r.awaitSurvivor(from)
			if succeeded, _ := r.reported(from); !succeeded {
				t.Error("the upgrade has failed")
			}
			survivor := r.newestPID()
			if survivor == r.old {
				t.Fatalf("the old process serves")
			}
			h := r.history(cell{scenario: r.scenario, at: passage{point: c.at}, fault: faultStop},
				from, stopped[0])
			r.clients.awaitAnswersOf(r, survivor)
			r.clients.halt()
			r.clients.check(t, h)
			r.upgradeAndEnd(survivor)
		})
	}
}
