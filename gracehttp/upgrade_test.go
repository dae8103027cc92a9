//go:build linux

package gracehttp

import (
	"testing"
	"time"
)

// Ten upgrades lose no request, and none is handled twice, whatever the clients do.
func TestTenUpgradesLoseNoRequest(t *testing.T) {
	s := start(t, config{})
	l := startLoad(s, 2)
	const upgrades = 10
	for range upgrades {
		time.Sleep(150 * time.Millisecond) // of load
		s.upgrade()
	}
	time.Sleep(150 * time.Millisecond)
	requests, failures := l.stop()
	for _, f := range failures {
		t.Error(f)
	}
	s.stop()
	var handled int64
	for n := 1; n <= upgrades+1; n++ {
		left, report := s.awaitLeft(n), s.awaitReport(n)
		handled += left.Handled
		if left.Err != "" || left.Handled == 0 || report.Cut > 0 {
			t.Errorf("generation %d: %+v, %+v", n, left, report)
		}
		if n <= upgrades && (report.Requests == 0 || report.Closed == 0) {
			t.Errorf("generation %d has drained under load, but reports %+v", n, report)
		}
	}
	if first, last := s.awaitLeft(2), s.awaitLeft(upgrades); last.Files > first.Files {
		t.Errorf("%d descriptors were left in generation 2, and %d in generation %d", first.Files, last.Files, upgrades)
	}
	if handled != requests {
		t.Errorf("%d requests were sent, and %d handled", requests, handled)
	}
	t.Logf("%d requests", requests)
}

// The load is one under which http.Server.Shutdown alone loses requests.
func TestShutdownAloneLosesRequests(t *testing.T) {
	s := start(t, config{Plain: true})
	l := startLoad(s, 2)
	for range 5 {
		time.Sleep(150 * time.Millisecond) // of load
		s.upgrade()
	}
	requests, failures := l.stop()
	s.stop()
	if len(failures) == 0 {
		t.Errorf("%d requests, and none has failed", requests)
	}
	t.Logf("%d of %d requests have failed", len(failures), requests)
}
