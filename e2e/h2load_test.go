//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"testing"
)

// h2loadReport is what h2load counts. h2load does not connect again after a GOAWAY: it counts the
// requests that it has not sent by then as failed, and those that it was about to send as started
// and as errors.
type h2loadReport struct{ Total, Started, Done, Succeeded, Failed, Errored, Timeout int }

var h2loadLine = regexp.MustCompile(`(?m)^requests: .*$`)

// stopH2load adds up the reports of all runs.
func stopH2load(r *repeated) (sum h2loadReport) {
	r.t.Helper()
	for _, out := range r.stop() {
		var n h2loadReport
		_, err := fmt.Sscanf(h2loadLine.FindString(out),
			"requests: %d total, %d started, %d done, %d succeeded, %d failed, %d errored, %d timeout",
			&n.Total, &n.Started, &n.Done, &n.Succeeded, &n.Failed, &n.Errored, &n.Timeout)
		if err != nil {
			r.t.Fatalf("%v in\n%s", err, out)
		}
		sum.Total += n.Total
		sum.Started += n.Started
		sum.Done += n.Done
		sum.Succeeded += n.Succeeded
		sum.Failed += n.Failed
		sum.Errored += n.Errored
		sum.Timeout += n.Timeout
	}
	return sum
}

// Every HTTP/2 request that was handled is answered. (examples/httpsoak shows that none is refused:
// h2load does not tell refused requests from those that it has not sent.)
func TestH2loadNoticesNoUpgrade(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string) {
		t.Run("h2c", func(t *testing.T) {
			testH2load(t, mode, func(s *service) string { return "http://" + s.plain + "/slow" })
		})
		t.Run("h2", func(t *testing.T) {
			testH2load(t, mode, func(s *service) string { return "https://" + s.tls + "/slow" })
		})
	})
}

func testH2load(t *testing.T, mode string, url func(*service) string) {
	t.Helper()
	path := program(t, "h2load", "nghttp2-client")
	s := start(t, config{Mode: mode, Busy: 100})
	// A hundred connections a second with one request each, and four with four requests at a time
	// until a GOAWAY arrives.
	short := repeat(t, path,
		"-r", "5", "--rate-period", "50ms", "-c", "40", "-n", "40", "-m", "1", url(s))
	long := repeat(t, path, "-c", "4", "-m", "4", "-n", "600", url(s))
	s.upgradeTenTimes()
	fresh, kept := stopH2load(short), stopH2load(long)
	t.Logf("fresh: %+v; kept: %+v", fresh, kept)
	had := s.stop()

	for _, r := range []h2loadReport{fresh, kept} {
		if r.Done != r.Started || r.Failed != r.Errored || r.Timeout > 0 {
			t.Errorf("a connection has ended without GOAWAY, or an answer is not 200: %+v", r)
		}
	}
	if fresh.Succeeded != fresh.Total {
		t.Errorf("of the first requests of %d connections %d were answered", fresh.Total, fresh.Succeeded)
	}
	if kept.Started == kept.Total {
		t.Error("no GOAWAY has arrived")
	}
	if answers := fresh.Succeeded + kept.Succeeded; answers != int(had.requests) {
		t.Errorf("%d requests were handled, and %d answered", had.requests, answers)
	}
}
