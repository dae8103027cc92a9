package httpsoak

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/httpload"
)

// good is the outcome of a mode that keeps all promises.
func good() *outcome {
	seen := httpload.Tally{Requests: 10, Dials: 1}
	return &outcome{
		Outcome: &lineage.Outcome{Upgrades: 8},
		mode:    mode{name: "test", keeps: true},
		seen:    httpload.Result{Tally: seen, Kinds: map[string]httpload.Tally{"closed-loop": seen}},
		handled: 10,
		drains:  []time.Duration{2 * time.Second, time.Second, 4 * time.Second},
	}
}

// fail has some requests fail.
func (o *outcome) fail() {
	o.seen.Failed, o.seen.Failures = 2, []error{errors.New("closed-loop.tcp0: EOF")}
	o.seen.Kinds["closed-loop"] = httpload.Tally{Requests: 10, Failed: 2}
}

// reconnect has a client connect anew.
func (o *outcome) reconnect() {
	o.seen.Reconnects.HTTP1 = 1
	o.seen.Kinds["closed-loop"] = httpload.Tally{Requests: 10, Reconnects: httpload.Reconnects{HTTP1: 1}}
}

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*outcome)
		want   string // in the error; "" for none
	}{
		"good":                       {func(*outcome) {}, ""},
		"failed":                     {(*outcome).fail, "2 of 10 requests have failed"},
		"failed, alone":              {func(o *outcome) { o.fail(); o.mode = mode{alone: true} }, ""},
		"handled twice":              {func(o *outcome) { o.handled++ }, "10 requests were sent, and 11 handled"},
		"not handled":                {func(o *outcome) { o.handled-- }, "10 requests were sent, and 9 handled"},
		"not handled, alone":         {func(o *outcome) { o.handled--; o.mode = mode{alone: true} }, ""},
		"reconnect":                  {(*outcome).reconnect, "had to connect anew: closed-loop=1"},
		"reconnects of others":       {func(o *outcome) { o.seen.Reconnects = httpload.Reconnects{TLS: 1, HTTP2: 1} }, ""},
		"reconnect, without a claim": {func(o *outcome) { o.reconnect(); o.mode.keeps = false }, ""},
		"failed upgrade":             {func(o *outcome) { o.Failures = []error{errors.New("no upgrade")}; o.mode = mode{alone: true} }, "no upgrade"},
		"no request":                 {func(o *outcome) { o.seen.Kinds["late"] = httpload.Tally{} }, "late has made no request"},
		"no load":                    {func(o *outcome) { o.seen.Kinds = nil; o.mode = mode{alone: true} }, "there was no load"},
	} {
		o := good()
		test.change(o)
		err := o.verdict()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: the verdict is %v, not %q", name, err, test.want)
		}
	}
}

func TestOutcomeIsALine(t *testing.T) {
	o := good()
	if want := "test     upgrades=8 requests=10 failed=0 handled=10 reconnects: HTTP/1=0 TLS=0 HTTP/2=0 drain: median=2s max=4s p99=0s"; o.String() != want {
		t.Error(o)
	}
	o.fail()
	if want := "\n  failed: closed-loop=2\n  such as closed-loop.tcp0: EOF"; !strings.HasSuffix(o.String(), want) {
		t.Error(o)
	}
}
