//go:build linux

package gracehttp

import (
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/httpload"
)

// loadGrace is the grace period under load. On an overloaded machine it may take seconds until a
// client sends its next request.
const loadGrace = 10 * time.Second

// startLoad starts clients of all kinds. None is idle for longer than the grace period.
func startLoad(s *service) *httpload.Load {
	s.t.Helper()
	l, err := httpload.Start(httpload.Config{
		Targets: []httpload.Target{
			{Network: "tcp", Addr: s.plain},
			{Network: "tcp", Addr: s.tls, TLS: s.trust},
		},
		Idle: testGrace / 4,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Stop() })
	return l
}

// awaitLoad waits for more requests than there are clients.
func awaitLoad(t testing.TB, l *httpload.Load) {
	t.Helper()
	before := l.Result().Requests
	eventually(t, "under load", func() bool { return l.Result().Requests >= before+200 })
}

// upgradeUnderLoad upgrades the service the given number of times. It returns when all generations
// except the last one have drained under the load.
func upgradeUnderLoad(s *service, l *httpload.Load, upgrades int) {
	s.t.Helper()
	for range upgrades {
		awaitLoad(s.t, l)
		s.upgrade()
	}
	for n := range upgrades {
		s.awaitReport(n + 1)
	}
	awaitLoad(s.t, l)
}

// Ten upgrades lose no request, and none is handled twice, whatever the clients do.
func TestTenUpgradesLoseNoRequest(t *testing.T) {
	t.Parallel()
	s := start(t, config{Grace: loadGrace})
	l := startLoad(s)
	const upgrades = 10
	upgradeUnderLoad(s, l, upgrades)
	seen := l.Stop()
	if seen.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", seen.Failed, seen.Requests, seen.Failures)
	}
	s.stop()
	var handled int64
	for n := 1; n <= upgrades+1; n++ {
		left, report := s.awaitLeft(n), s.awaitReport(n)
		handled += left.Handled
		if left.Err != "" || left.Handled == 0 || left.Goroutines+left.Sockets+report.Cut > 0 {
			t.Errorf("generation %d: %+v, %+v", n, left, report)
		}
		if n <= upgrades && (report.Requests == 0 || report.Closed == 0) {
			t.Errorf("generation %d drained under load, but reports %+v", n, report)
		}
	}
	if first, last := s.awaitLeft(2), s.awaitLeft(upgrades); last.Files > first.Files {
		t.Errorf("%d descriptors were left in generation 2, and %d in generation %d",
			first.Files, last.Files, upgrades)
	}
	if handled != int64(seen.Handled) {
		t.Errorf("%d requests were to be handled, and %d were", seen.Handled, handled)
	}
	t.Logf("%d requests", seen.Requests)
}

// With WithIdleHandover, clients of plain HTTP/1 do not even have to connect again, even if several
// generations drain at once.
func TestIdleHandoverClosesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, config{Idle: true, Grace: loadGrace})
	l := startLoad(s)
	const upgrades = 10
	upgradeUnderLoad(s, l, upgrades)
	seen := l.Stop()
	if seen.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", seen.Failed, seen.Requests, seen.Failures)
	}
	for kind, of := range seen.Kinds {
		if of.Reconnects.HTTP1 > 0 {
			t.Errorf("%s: %d reconnects", kind, of.Reconnects.HTTP1)
		}
	}
	s.stop()
	var handled int64
	for n := 1; n <= upgrades+1; n++ {
		left, report := s.awaitLeft(n), s.awaitReport(n)
		handled += left.Handled
		if left.Err != "" || left.Goroutines+left.Sockets+report.Cut > 0 {
			t.Errorf("generation %d: %+v, %+v", n, left, report)
		}
		if n <= upgrades && report.Transferred == 0 {
			t.Errorf("generation %d: %+v, %+v", n, left, report)
		}
	}
	if handled != int64(seen.Handled) {
		t.Errorf("%d requests were to be handled, and %d were", seen.Handled, handled)
	}
	t.Logf("%d requests", seen.Requests)
}

// Under the same load, http.Server.Shutdown alone loses requests.
func TestShutdownAloneLosesRequests(t *testing.T) {
	t.Parallel()
	s := start(t, config{Plain: true})
	l := startLoad(s)
	for range 5 {
		awaitLoad(t, l)
		s.upgrade()
	}
	seen := l.Stop()
	s.stop()
	if seen.Failed == 0 {
		t.Errorf("%d requests, and none failed", seen.Requests)
	}
	t.Logf("%d of %d requests failed", seen.Failed, seen.Requests)
}
