//go:build linux

package e2e

import (
	"maps"
	"slices"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// service is the program with all its generations.
type service struct {
	*servicetest.Service[said]
	t          *testing.T
	plain, tls string      // addresses
	cert       certificate // of the latter
}

// inEachMode runs a test in each mode of gracehttp.
func inEachMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range slices.Sorted(maps.Keys(modes)) {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

func start(t *testing.T, c config) *service {
	t.Helper()
	s := &service{t: t, cert: newCertificate(t)}
	c.Cert, c.Key = s.cert.file, s.cert.key
	s.Service = servicetest.StartJSON[said](t, servicetest.Command(c))
	s.plain = s.Await("plain address", func(l said) bool { return l.Name == "plain" }).Addr
	if c.Gateway == nil && c.Mux == "" {
		s.tls = s.Await("TLS address", func(l said) bool { return l.Name == "tls" }).Addr
	}
	s.AwaitReady(1)
	return s
}

// awaitOf waits for a line of a generation.
func (s *service) awaitOf(generation int, what string) said {
	s.t.Helper()
	l := s.Await(what, func(l said) bool { return l.What == what && l.Generation == generation })
	if l.Err != "" {
		s.t.Fatalf("%+v", l)
	}
	return l
}

// upgradeTenTimes upgrades whenever the serving generation has answered its share of the requests.
// At the end eleven generations have.
func (s *service) upgradeTenTimes() {
	s.t.Helper()
	for n := range upgrades {
		s.awaitOf(n+1, "busy")
		s.Upgrade()
		s.awaitOf(n+1, "UpgradeFinished")
	}
	s.awaitOf(upgrades+1, "busy")
}

// totals are the sums over all generations.
type totals struct {
	requests    int64
	conns       int64 // one that is transferred counts in both processes
	transferred int64 // to successors
}

// stop ends the service, whose clients are gone.
func (s *service) stop() (sum totals) {
	s.t.Helper()
	n := s.Signal(syscall.SIGTERM)
	_ = s.AwaitEnd() // the lines report errors
	for ; n > 0; n-- {
		left := s.awaitOf(n, "left")
		sum.requests += left.Requests
		sum.conns += left.Conns
	}
	for _, l := range s.Lines() {
		sum.transferred += l.Transferred
	}
	s.t.Logf("the service had %+v", sum)
	return sum
}

// check fails a test whose clients have not kept their connections from one request to the next,
// or, in the handover mode, from one process to the next. (In each mode, successors take over some
// connections without a request.)
func (sum totals) check(t *testing.T, mode string) {
	t.Helper()
	if sum.conns > sum.requests/2 {
		t.Error("connections are not kept")
	}
	if mode == handover && sum.transferred < upgrades {
		t.Error("connections are not handed over")
	}
}
