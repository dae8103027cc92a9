package lineage

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// good returns an outcome with nothing wrong. The memory goes up and down, but does not grow.
func good() *Outcome {
	idle := func() *snapshot { return &snapshot{Census: someCensus(), alive: 1} }
	o := &Outcome{Upgrades: 205, before: idle(), after: idle()}
	for g := 1; g <= 205; g++ {
		before, after := someCensus(), someCensus()
		after.Resident += int64(g%7) << 20
		o.Growth.add(Report{What: Ready, Generation: g, Census: before})
		o.Growth.add(Report{What: Draining, Generation: g, Census: after})
	}
	return o
}

func someCensus() *Census {
	return &Census{
		Descriptors: map[string]int{"socket": 6, "pipe": 2}, Goroutines: 9, Resident: 10 << 20,
	}
}

var verdicts = map[string]struct {
	change func(*Outcome)
	want   string // in the error; "" for none
}{
	"good": {func(*Outcome) {}, ""},
	"failed upgrade": {
		func(o *Outcome) { o.Failures = []error{errors.New("no upgrade")} }, "no upgrade",
	},
	"warning": {
		func(o *Outcome) { o.Warnings = []error{errors.New("a warning")} }, "a warning",
	},
	"descriptor": {func(o *Outcome) { o.after.Descriptors["socket"]++ }, "7 socket at the end"},
	"kind replaced": {
		func(o *Outcome) { o.after.Descriptors = map[string]int{"socket": 8} },
		"8 socket at the end",
	},
	"goroutine": {func(o *Outcome) { o.after.Goroutines++ }, "has 10 goroutines"},
	"starts differ": {
		func(o *Outcome) { o.differ(tolerated(o.Growth.counted) + 2) }, // which count as well
		"the first is 206 with 10 goroutines",
	},
	"one start differs": {func(o *Outcome) { o.differ(1) }, ""},
	"memory grows": {
		func(o *Outcome) { o.leak(1.15) }, "the memory of a generation has grown from 1",
	},
	"memory is level": {func(o *Outcome) { o.leak(1.05) }, ""},
	"few samples": {func(o *Outcome) {
		o.leak(2)
		o.Growth.resident = o.Growth.resident[:fewSamples-1]
	}, ""},
	"no /proc": {func(o *Outcome) {
		o.before.Descriptors, o.after.Descriptors, o.Growth.resident = nil, nil, nil
	}, ""},
}

func TestVerdict(t *testing.T) {
	for name, test := range verdicts {
		t.Run(name, func(t *testing.T) {
			o := good()
			test.change(o)
			err := errors.Join(o.Verdict(), o.Growth.MemoryVerdict())
			if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("the verdict is %v, not %q", err, test.want)
			}
			_ = o.String() // must not panic
		})
	}
}

// differ adds n generations that began with one more goroutine.
func (o *Outcome) differ(n int) {
	for range n {
		more := someCensus()
		more.Goroutines++
		o.Growth.add(Report{What: Ready, Generation: 206, Census: more})
	}
}

// leak lets the memory grow steadily, to the given factor in the last generation.
func (o *Outcome) leak(factor float64) {
	n := float64(len(o.Growth.resident))
	for i, r := range o.Growth.resident {
		o.Growth.resident[i] = int64(float64(r) * (1 + (factor-1)*float64(i)/n))
	}
}

func TestOutcomeWithoutProc(t *testing.T) {
	o := good()
	o.before.Descriptors, o.after.Descriptors, o.Growth.resident = nil, nil, nil
	o.Growth.first, o.Growth.last = nil, nil
	const unknown = " not measured not measured"
	for _, line := range []string{
		"  descriptors                  " + unknown, "  memory                       " + unknown,
	} {
		if !strings.Contains(o.String(), line) {
			t.Errorf("no line %q in\n%s", line, o)
		}
	}
}
