package lineage

import (
	"errors"
	"strings"
	"testing"
)

// good is an outcome with which nothing is wrong. The memory goes up and down, but not on and on.
func good() *Outcome {
	atRest := func() *rest { return &rest{Census: takenCensus(), alive: 1} }
	o := &Outcome{Upgrades: 205, before: atRest(), after: atRest()}
	for g := 1; g <= 205; g++ {
		before, after := takenCensus(), takenCensus()
		after.Resident += int64(g%7) << 20
		o.Growth.add(Report{What: Ready, Generation: g, Census: before})
		o.Growth.add(Report{What: Draining, Generation: g, Census: after})
	}
	return o
}

func takenCensus() *Census {
	return &Census{Descriptors: map[string]int{"socket": 6, "pipe": 2}, Goroutines: 9, Resident: 10 << 20}
}

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Outcome)
		want   string // in the error; "" for none
	}{
		"good":           {func(*Outcome) {}, ""},
		"failed upgrade": {func(o *Outcome) { o.Failures = []error{errors.New("no upgrade")} }, "no upgrade"},
		"trouble":        {func(o *Outcome) { o.Troubles = []error{errors.New("a warning")} }, "a warning"},
		"descriptor":     {func(o *Outcome) { o.after.Descriptors["socket"]++ }, "7 socket at the end"},
		"kind replaced":  {func(o *Outcome) { o.after.Descriptors = map[string]int{"socket": 8} }, "8 socket at the end"},
		"goroutine":      {func(o *Outcome) { o.after.Goroutines++ }, "has 10 goroutines"},
		"starts differ": {func(o *Outcome) {
			for range odd(o.Growth.counted) + 2 { // each is one more that is counted
				more := takenCensus()
				more.Goroutines++
				o.newcomer(more)
			}
		}, "the first is 206 with 10 goroutines"},
		"one start differs": {func(o *Outcome) { more := takenCensus(); more.Goroutines++; o.newcomer(more) }, ""},
		"memory grows":      {func(o *Outcome) { o.leak(1.15) }, "the memory of a generation has grown from 1"},
		"memory is level":   {func(o *Outcome) { o.leak(1.05) }, ""},
		"few samples":       {func(o *Outcome) { o.leak(2); o.Growth.resident = o.Growth.resident[:fewSamples-1] }, ""},
		"no /proc": {func(o *Outcome) {
			o.before.Descriptors, o.after.Descriptors, o.Growth.resident = nil, nil, nil
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			test.change(o)
			err := errors.Join(o.Verdict(), o.Growth.MemoryVerdict())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("the verdict is %v, not %q", err, test.want)
			}
			_ = o.String() // can show it all
		})
	}
}

func (o *Outcome) newcomer(c *Census) {
	o.Growth.add(Report{What: Ready, Generation: 206, Census: c})
}

// leak makes the memory of the last generation so many times what it was.
func (o *Outcome) leak(times float64) {
	n := len(o.Growth.resident)
	for i := range o.Growth.resident {
		o.Growth.resident[i] = int64(float64(o.Growth.resident[i]) * (1 + (times-1)*float64(i)/float64(n)))
	}
}

func TestOutcomeWithoutProc(t *testing.T) {
	o := good()
	o.before.Descriptors, o.after.Descriptors, o.Growth.resident = nil, nil, nil
	o.Growth.first, o.Growth.last = nil, nil
	const unknown = " not measured not measured"
	for _, line := range []string{"  descriptors                  " + unknown, "  memory                       " + unknown} {
		if !strings.Contains(o.String(), line) {
			t.Errorf("no line %q in\n%s", line, o)
		}
	}
}
