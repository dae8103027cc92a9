//go:build linux

package gracegrpc

import "testing"

// Ten upgrades fail no RPC of any kind, and none is handled twice.
func TestTenUpgradesFailNoRPC(t *testing.T) {
	s := start(t, config{})
	l := startLoad(s, 4)
	const upgrades = 10
	for range upgrades {
		l.goOn()
		s.upgrade()
	}
	l.goOn()
	calls, failures := l.stop()
	for _, f := range failures {
		t.Error(f)
	}
	s.stop()
	var handled int64
	for n := 1; n <= upgrades+1; n++ {
		left, report := s.awaitLeft(n), s.awaitReport(n)
		handled += left.Handled
		if left.Err != "" || left.Handled == 0 || report.Cut || report.Drain == 0 {
			t.Errorf("generation %d: %+v, %+v", n, left, report)
		}
	}
	if first, last := s.awaitLeft(2), s.awaitLeft(upgrades); last.Files > first.Files {
		t.Errorf("%d descriptors are left in generation 2, and %d in generation %d",
			first.Files, last.Files, upgrades)
	}
	if handled != calls {
		t.Errorf("%d RPCs were sent, and %d handled", calls, handled)
	}
	t.Logf("%d RPCs", calls)
}

// Under the same load, grpc.Server.Stop alone fails RPCs.
func TestStopAloneFailsRPCs(t *testing.T) {
	s := start(t, config{Plain: true})
	l := startLoad(s, 2)
	for range 3 {
		l.goOn()
		s.upgrade()
	}
	calls, failures := l.stop()
	s.stop()
	if len(failures) == 0 {
		t.Errorf("%d RPCs, and none failed", calls)
	}
	t.Logf("%d of %d RPCs failed", len(failures), calls)
}
