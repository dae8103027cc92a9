package httpsoak

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/httpload"
)

// good returns the outcome of a mode that keeps all promises.
func good() *outcome {
	seen := httpload.Tally{Requests: 10, Handled: 9, Dials: 1}
	return &outcome{
		Outcome: &lineage.Outcome{Upgrades: 8},
		mode:    mode{name: "test", keepsIdle: true},
		seen: httpload.Result{
			Tally: seen, Kinds: map[string]httpload.Tally{"closed-loop": seen},
		},
		handled: 9,
		drains:  []time.Duration{2 * time.Second, time.Second, 4 * time.Second},
	}
}

// fail adds two requests that failed.
func (o *outcome) fail() {
	o.seen.Failed, o.seen.Failures = 2, []error{errors.New("closed-loop.tcp0: EOF")}
	o.seen.Kinds["closed-loop"] = httpload.Tally{Requests: 10, Failed: 2}
}

// reconnect adds a client that reconnected.
func (o *outcome) reconnect() {
	o.seen.Reconnects.HTTP1 = 1
	o.seen.Kinds["closed-loop"] = httpload.Tally{
		Requests: 10, Reconnects: httpload.Reconnects{HTTP1: 1},
	}
}

var verdicts = map[string]struct {
	change func(*outcome)
	want   string // in the error; "" for none
}{
	"good":   {func(*outcome) {}, ""},
	"failed": {(*outcome).fail, "2 of 10 requests failed"},
	"failed in shutdown": {
		func(o *outcome) { o.fail(); o.mode = mode{shutdownOnly: true} }, "",
	},
	"handled twice": {
		func(o *outcome) { o.handled++ }, "9 requests were to be handled, and 10 were",
	},
	"not handled": {func(o *outcome) { o.handled-- }, "9 requests were to be handled, and 8 were"},
	"not handled in shutdown": {
		func(o *outcome) { o.handled--; o.mode = mode{shutdownOnly: true} }, "",
	},
	"long drain": {
		func(o *outcome) { o.drains[1] = drainTimeout }, "a connection has held its process",
	},
	"long drain in shutdown": {
		func(o *outcome) { o.drains[1] = drainTimeout; o.mode = mode{shutdownOnly: true} }, "",
	},
	"reconnect": {(*outcome).reconnect, "had to reconnect: closed-loop=1"},
	"reconnects of others": {
		func(o *outcome) { o.seen.Reconnects = httpload.Reconnects{TLS: 1, HTTP2: 1} }, "",
	},
	"reconnect in polite": {func(o *outcome) { o.reconnect(); o.mode.keepsIdle = false }, ""},
	"failed upgrade in shutdown": {func(o *outcome) {
		o.Failures = []error{errors.New("no upgrade")}
		o.mode = mode{shutdownOnly: true}
	}, "no upgrade"},
	"no request": {
		func(o *outcome) { o.seen.Kinds["late"] = httpload.Tally{} }, "late made no request",
	},
	"no load in shutdown": {
		func(o *outcome) { o.seen.Kinds = nil; o.mode = mode{shutdownOnly: true} },
		"there was no load",
	},
}

func TestVerdict(t *testing.T) {
	for name, test := range verdicts {
		o := good()
		test.change(o)
		err := o.verdict()
		if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: the verdict is %v, not %q", name, err, test.want)
		}
	}
}

func TestOutcomeIsALine(t *testing.T) {
	o := good()
	const line = "test     upgrades=8 requests=10 failed=0 handled=9 of 9 " +
		"reconnects: HTTP/1=0 TLS=0 HTTP/2=0 drain: median=2s max=4s p99=0s"
	if o.String() != line {
		t.Error(o)
	}
	o.fail()
	const failures = "\n  failed: closed-loop=2\n  such as closed-loop.tcp0: EOF"
	if !strings.HasSuffix(o.String(), failures) {
		t.Error(o)
	}
}
