//go:build linux

package gracegrpc

import (
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience is how long a test waits for something that will happen.
const patience = servicetest.Patience

// service is the program with all its generations.
type service struct {
	*servicetest.Service[said]
	t    *testing.T
	addr string
}

func start(t *testing.T, c config) *service {
	t.Helper()
	s := &service{t: t, Service: servicetest.StartJSON[said](t, servicetest.Command(c))}
	s.addr = s.Await("address", func(l said) bool { return l.What == "SocketOpened" }).Addr
	s.AwaitReady(1)
	return s
}

func (s *service) awaitReport(generation int) said {
	s.t.Helper()
	return s.Await("report", func(l said) bool {
		return l.What == "DrainReport" && l.Generation == generation
	})
}

func (s *service) awaitLeft(generation int) said {
	s.t.Helper()
	return s.Await("end of a process", func(l said) bool {
		return l.What == "left" && l.Generation == generation
	})
}

func (s *service) upgrade() {
	s.t.Helper()
	n, _ := s.Newest()
	s.Upgrade()
	s.Await("end of the upgrade", func(l said) bool {
		return l.What == "UpgradeFinished" && l.Generation == n
	})
}

// stop ends the service, and waits for all generations.
func (s *service) stop() {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	_ = s.AwaitEnd() // the lines report errors
}
