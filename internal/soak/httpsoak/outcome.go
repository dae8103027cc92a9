package httpsoak

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-grace/grace/internal/soak/lineage"
	"github.com/go-grace/grace/internal/test/httpload"
)

// outcome is how a mode went.
type outcome struct {
	*lineage.Outcome
	mode    mode
	seen    httpload.Result // by the clients
	handled int64           // requests, by all processes
	drains  []time.Duration
}

// String is a line for the outcome, and some for what has failed.
func (o *outcome) String() string {
	again := o.seen.Reconnects
	median, longest := o.drainTimes()
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s upgrades=%d requests=%d failed=%d handled=%d reconnects: HTTP/1=%d TLS=%d HTTP/2=%d drain: median=%v max=%v p99=%v",
		o.mode.name, o.Upgrades, o.seen.Requests, o.seen.Failed, o.handled, again.HTTP1, again.TLS, again.HTTP2,
		median.Round(time.Millisecond), longest.Round(time.Millisecond), o.seen.Latencies.Quantile(0.99).Round(100*time.Microsecond))
	if o.seen.Failed > 0 {
		fmt.Fprintf(&b, "\n  failed: %s", o.byKind(func(t httpload.Tally) int { return t.Failed }))
	}
	for _, err := range o.seen.Failures {
		fmt.Fprintf(&b, "\n  such as %v", err)
	}
	return b.String()
}

// byKind tells which kinds of clients have counted something.
func (o *outcome) byKind(count func(httpload.Tally) int) string {
	var counts []string
	for _, kind := range slices.Sorted(maps.Keys(o.seen.Kinds)) {
		if n := count(o.seen.Kinds[kind]); n > 0 {
			counts = append(counts, fmt.Sprintf("%s=%d", kind, n))
		}
	}
	return strings.Join(counts, " ")
}

func (o *outcome) drainTimes() (median, longest time.Duration) {
	if len(o.drains) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(o.drains))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}

// verdict is nil if the mode has kept what it promises, and was put to the test.
func (o *outcome) verdict() error {
	errs := []error{o.Verdict()}
	for kind, seen := range o.seen.Kinds {
		if seen.Requests == 0 {
			errs = append(errs, fmt.Errorf("%s has made no request", kind))
		}
	}
	if len(o.seen.Kinds) == 0 {
		errs = append(errs, errors.New("there was no load"))
	}
	if n := o.seen.Failed; n > 0 && !o.mode.alone {
		errs = append(errs, fmt.Errorf("%d of %d requests have failed", n, o.seen.Requests))
	}
	if n := int64(o.seen.Requests); n != o.handled && !o.mode.alone {
		errs = append(errs, fmt.Errorf("%d requests were sent, and %d handled", n, o.handled))
	}
	if n := o.seen.Reconnects.HTTP1; n > 0 && o.mode.keeps {
		errs = append(errs, fmt.Errorf("clients of HTTP/1 in plaintext had to connect anew: %s",
			o.byKind(func(t httpload.Tally) int { return t.Reconnects.HTTP1 })))
	}
	return errors.Join(errs...)
}
