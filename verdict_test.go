//go:build linux

package grace

import (
	"encoding/json"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// history is what has happened in a cell, as far as it decides who may serve.
type history struct {
	r      *trial
	cell   cell
	from   int
	victim int // the process of the fault
	fired  int // the number of the event
}

func (r *trial) history(c cell, from, victim int) *history {
	h := &history{r: r, cell: c, from: from, victim: victim}
	h.fired = slices.IndexFunc(r.Lines(), func(p printed) bool { return p.Event == "Fired" })
	return h
}

// name of a process as the matrix prints it.
func (h *history) name(pid int) string {
	if pid == h.r.old {
		return "o"
	}
	return "n"
}

// point reports whether a side had passed a point before the nth event; 0 is at any time.
func (h *history) passed(side, name string, before int) bool {
	found := false
	for n, p := range h.r.Lines() {
		var at passage
		if p.Event == "Point" && n >= h.from && (before == 0 || n < before) && json.Unmarshal([]byte(p.Detail), &at) == nil {
			found = found || h.cell.scenario.side(at.Birth) == side && at.Name == name
		}
	}
	return found
}

// promised reports whether the new process has said that it serves: from then on nobody else may.
func (h *history) promised() bool { return h.passed("new", "after send Serving", 0) }

// spawned reports whether there is, or was, a successor.
func (r *trial) spawned(from int) bool {
	return r.seen(from, func(p printed) bool { return p.Event == "Spawned" }) > 0
}

// expected says who is to serve, by the table of the design. It is computed from what had happened when the fault did.
func (h *history) expected() string {
	c := h.cell
	if c.fault.deadly() {
		return h.expectedAfterDeath()
	}
	succeeded, ok := h.r.reported(h.from)
	switch {
	case !ok: // stopped for so long that the new process has ended it
		return "n"
	case c.fault == faultCancel && c.side() == "old" && !h.passed("old", "before send Commit", h.fired):
		return "o"
	case c.fault == faultCancel && c.side() == "old" && h.passed("old", "after send Commit", h.fired+1):
		return "n"
	case c.fault == faultCancel && c.side() == "new" && !h.passed("new", "before send Serving", h.fired):
		return "o"
	case c.side() != "old" && h.passed("new", "after send Serving", h.fired+1):
		return "n"
	case succeeded:
		return "n"
	}
	return "o"
}

func (h *history) expectedAfterDeath() string {
	switch side := h.cell.side(); {
	case side == "older":
		return "n"
	case side == "new" && h.promised():
		return "-"
	case side == "new":
		return "o"
	case h.r.spawned(h.from) && !h.cell.scenario.sick:
		return "n"
	}
	return "-"
}

// outlast lets a stopped process go on, when the other side has waited for as long as it ever does: until it has come to a
// conclusion, or all its timeouts have passed.
func (r *trial) outlast(h *history) {
	r.until("the victim to stop", func() bool { return isStopped(h.victim) || !slices.Contains(r.living(), h.victim) })
	stopped := time.Now()
	waits := matrixUpgrade
	if h.cell.side() == "old" && h.r.spawned(h.from) && !h.passed("new", "after receive Hello", 0) {
		waits = helloTimeout
	}
	r.until("the other side to lose its patience", func() bool {
		switch {
		case !slices.Contains(r.living(), h.victim):
			return true
		case h.cell.side() == "older":
			return false // it is ended
		case h.cell.side() == "old":
			return !h.promised() && time.Since(stopped) > waits+500*time.Millisecond
		}
		if h.promised() {
			return !slices.Contains(r.living(), r.old)
		}
		_, over := r.reported(h.from)
		return over
	})
	if slices.Contains(r.living(), h.victim) {
		_ = unix.Kill(h.victim, unix.SIGCONT)
	}
}

// casualty is the process that had no chance to finish its work; 0 if there is none.
func (h *history) casualty() int {
	switch succeeded, _ := h.r.reported(h.from); {
	case h.cell.fault.deadly(), h.cutOff(h.victim):
		return h.victim
	case h.brokenAfterCommit() && !succeeded:
		// The old process cannot know that the new one serves; nor can that know that it must not. It is killed, with what it
		// has accepted meanwhile. No protocol can help: these are the two generals.
		for _, pid := range h.r.PIDs() {
			if pid != h.r.old && h.cutOff(pid) {
				return pid
			}
		}
	}
	return 0
}

// brokenAfterCommit reports whether the old process had sent Commit, as far as it knows, when the link broke.
func (h *history) brokenAfterCommit() bool {
	breaks := h.cell.fault == faultClose || h.cell.fault == faultTruncated
	return breaks && (h.passed("old", "after send Commit", 0) || h.cell.fault == faultTruncated && h.cell.at.Name == "before send Commit")
}

// checkOneServed asserts that the new process has not served beside the old one, unless that had told it to.
func (h *history) checkOneServed() {
	h.r.t.Helper()
	if succeeded, ok := h.r.reported(h.from); !ok || succeeded || h.passed("new", "before send Serving", 0) {
		return
	}
	for _, pid := range h.r.PIDs() {
		if served := func(p printed) bool { return p.Event == "ReadyFinished" && p.Err == "" && p.PID == pid }; pid != h.r.old && h.r.seen(h.from, served) > 0 {
			h.r.t.Errorf("process %d has served, and the old one keeps serving", pid)
		}
	}
}

// cutOff reports whether a process has ended without a drain.
func (h *history) cutOff(pid int) bool {
	return !slices.Contains(h.r.living(), pid) &&
		h.r.seen(0, func(p printed) bool { return p.PID == pid && p.Event == "DrainFinished" }) == 0
}
