package demo

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// good returns an outcome with a good verdict.
func good(upgrades int) outcome {
	o := outcome{way: "grace", upgrades: upgrades}
	for i := range 100 * upgrades {
		o.add(time.Duration(i)*time.Microsecond, fmt.Sprint(i%(upgrades+1)), nil)
	}
	return o
}

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*outcome)
		want   string // in the error; "" for none
	}{
		"good": {func(*outcome) {}, ""},
		"one failure": {
			func(o *outcome) { o.add(0, "", syscall.ECONNREFUSED) }, "1 requests failed",
		},
		"upgrade missed": {func(o *outcome) { o.upgrades-- }, "9 upgrades instead of 10"},
		"process missed": {func(o *outcome) { delete(o.pids, "3") }, "only 10 processes"},
		"no load":        {func(o *outcome) { o.requests = 500 }, "only 500 requests"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good(10)
			test.change(&o)
			err := o.verdict(10)
			if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("the verdict is %v, not %q", err, test.want)
			}
		})
	}
}

func TestSeamlessVerdict(t *testing.T) {
	o := good(10)
	if err := o.seamless(10); err != nil {
		t.Error(err)
	}
	o.reconnects = 2
	if err := o.seamless(10); err == nil || !strings.Contains(err.Error(), "reconnect 2 times") {
		t.Errorf("the verdict is %v", err)
	}
}

func TestOutcomeLines(t *testing.T) {
	o := good(10)
	const line = "grace          upgrades=10 requests=1000 failed=0 reconnects=0\n" +
		"               p99=1.0ms max=1.0ms"
	slices.Sort(o.latencies)
	if got := o.String(); got != line {
		t.Errorf("got  %q\nwant %q", got, line)
	}
	o.add(0, "", syscall.ECONNREFUSED)
	o.add(0, "", syscall.ECONNREFUSED)
	o.add(0, "", syscall.EPIPE)
	for _, want := range []string{
		"requests=1003 failed=3", " 1 failed: broken pipe\n", " 2 failed: connection refused",
	} {
		if got := o.String(); !strings.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
}
