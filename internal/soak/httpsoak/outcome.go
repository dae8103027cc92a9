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

// longestDrain is much longer than any connection needs to end, and ends before the deadline.
const longestDrain = drainTimeout / 2

// outcome is the result of a mode.
type outcome struct {
	*lineage.Outcome
	mode    mode
	seen    httpload.Result // what the clients saw
	handled int64           // requests, by all processes
	drains  []time.Duration
}

// String returns a line for the outcome, and more for failures.
func (o *outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s upgrades=%d requests=%d failed=%d handled=%d of %d ",
		o.mode.name, o.Upgrades, o.seen.Requests, o.seen.Failed, o.handled, o.seen.Handled)
	reconnects := o.seen.Reconnects
	fmt.Fprintf(&b, "reconnects: HTTP/1=%d TLS=%d HTTP/2=%d ",
		reconnects.HTTP1, reconnects.TLS, reconnects.HTTP2)
	median, longest := o.drainTimes()
	fmt.Fprintf(&b, "drain: median=%v max=%v p99=%v",
		median.Round(time.Millisecond), longest.Round(time.Millisecond),
		o.seen.Latencies.Quantile(0.99).Round(100*time.Microsecond))
	if o.seen.Failed > 0 {
		fmt.Fprintf(&b, "\n  failed: %s", o.byKind(func(t httpload.Tally) int { return t.Failed }))
	}
	for _, err := range o.seen.Failures {
		fmt.Fprintf(&b, "\n  such as %v", err)
	}
	return b.String()
}

// byKind lists the kinds of clients whose count is not zero.
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

// verdict returns nil if the mode kept its promises, and the load was enough to tell.
func (o *outcome) verdict() error {
	errs := []error{o.Verdict()}
	for kind, seen := range o.seen.Kinds {
		if seen.Requests == 0 {
			errs = append(errs, fmt.Errorf("%s made no request", kind))
		}
	}
	if len(o.seen.Kinds) == 0 {
		errs = append(errs, errors.New("there was no load"))
	}
	if n := o.seen.Failed; n > 0 && !o.mode.shutdownOnly {
		errs = append(errs, fmt.Errorf("%d of %d requests failed", n, o.seen.Requests))
	}
	if n := int64(o.seen.Handled); n != o.handled && !o.mode.shutdownOnly {
		errs = append(errs, fmt.Errorf("%d requests were to be handled, and %d were", n, o.handled))
	}
	if _, longest := o.drainTimes(); longest > longestDrain && !o.mode.shutdownOnly {
		errs = append(errs, fmt.Errorf(
			"a drain took %v: a connection has held its process", longest))
	}
	if n := o.seen.Reconnects.HTTP1; n > 0 && o.mode.keepsIdle {
		errs = append(errs, fmt.Errorf("clients of plaintext HTTP/1 had to reconnect: %s",
			o.byKind(func(t httpload.Tally) int { return t.Reconnects.HTTP1 })))
	}
	return errors.Join(errs...)
}
