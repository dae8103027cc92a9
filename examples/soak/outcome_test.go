package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// good is an outcome of a soak with which nothing is wrong. Its memory goes up and down, but not on and on.
func good() *outcome {
	k := newKind(time.Minute)
	for range 10 {
		k.note(time.Millisecond, 1, nil)
	}
	atRest := func() *rest { return &rest{census: takenCensus(), alive: 1} }
	o := &outcome{upgrades: 205, kinds: []*kind{k}, before: atRest(), after: atRest()}
	for g := 1; g <= 205; g++ {
		before, after := takenCensus(), takenCensus()
		after.Resident += int64(g%7) << 20
		o.growth.add(report{What: ready, Generation: g, Census: before})
		o.growth.add(report{What: draining, Generation: g, Census: after})
	}
	return o
}

func takenCensus() *census {
	return &census{Descriptors: map[string]int{"socket": 6, "pipe": 2}, Goroutines: 9, Resident: 10 << 20}
}

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*outcome)
		want   string // in the error; "" for none
	}{
		"good":            {func(*outcome) {}, ""},
		"lost request":    {func(o *outcome) { o.kinds[0].note(0, 0, errors.New("lost")) }, "1 of 11 requests have failed"},
		"failed upgrade":  {func(o *outcome) { o.failures = []error{errors.New("no upgrade")} }, "no upgrade"},
		"trouble":         {func(o *outcome) { o.troubles = []error{errors.New("a warning")} }, "a warning"},
		"descriptor":      {func(o *outcome) { o.after.Descriptors["socket"]++ }, "7 socket at the end"},
		"kind replaced":   {func(o *outcome) { o.after.Descriptors = map[string]int{"socket": 8} }, "8 socket at the end"},
		"goroutine":       {func(o *outcome) { o.after.Goroutines++ }, "has 10 goroutines"},
		"start differs":   {func(o *outcome) { more := takenCensus(); more.Goroutines++; o.newcomer(more) }, "the first is 206 with 10 goroutines"},
		"memory grows":    {func(o *outcome) { o.leak(1.15) }, "the memory of a generation has grown from 1"},
		"memory is level": {func(o *outcome) { o.leak(1.05) }, ""},
		"few samples":     {func(o *outcome) { o.leak(2); o.growth.resident = o.growth.resident[:fewSamples-1] }, ""},
		"no /proc": {func(o *outcome) {
			o.before.Descriptors, o.after.Descriptors, o.growth.resident = nil, nil, nil
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := good()
			test.change(o)
			err := o.verdict()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("the verdict is %v, not %q", err, test.want)
			}
			_ = o.String() // can show it all
		})
	}
}

func (o *outcome) newcomer(c *census) {
	o.growth.add(report{What: ready, Generation: 206, Census: c})
}

// leak makes the memory of the last generation so many times what it was.
func (o *outcome) leak(times float64) {
	n := len(o.growth.resident)
	for i := range o.growth.resident {
		o.growth.resident[i] = int64(float64(o.growth.resident[i]) * (1 + (times-1)*float64(i)/float64(n)))
	}
}

func TestOutcomeWithoutProc(t *testing.T) {
	o := good()
	o.before.Descriptors, o.after.Descriptors, o.growth.resident = nil, nil, nil
	o.growth.first, o.growth.last = nil, nil
	const unknown = " not measured not measured"
	for _, line := range []string{"  descriptors                  " + unknown, "  memory                       " + unknown} {
		if !strings.Contains(o.String(), line) {
			t.Errorf("no line %q in\n%s", line, o)
		}
	}
}
