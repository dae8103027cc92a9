//go:build linux

package gracehttp

import (
	"crypto/tls"
	"errors"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience is how long a test waits for something that will happen.
const patience = servicetest.Patience

// service is the program with all its generations.
type service struct {
	*servicetest.Service[said]
	t     testing.TB
	plain string // addresses
	tls   string
	unix  string
	trust *tls.Config // for clients
}

func start(t testing.TB, c config) *service {
	t.Helper()
	dir := shortDir(t)
	s := &service{t: t, unix: filepath.Join(dir, "socket")}
	c.Unix = s.unix
	c.File = filepath.Join(dir, "file")
	var err error
	c.Cert, c.Key, s.trust, err = httpload.Certificate(dir)
	if err := errors.Join(err, httpload.WriteFile(c.File)); err != nil {
		t.Fatal(err)
	}
	s.Service = servicetest.StartJSON[said](t, servicetest.Command(c))
	s.plain = s.Await("plain address", func(l said) bool { return l.Name == "plain" }).Addr
	s.tls = s.Await("TLS address", func(l said) bool { return l.Name == "tls" }).Addr
	s.AwaitReady(1)
	return s
}

// has reports whether there is such a line.
func (s *service) has(is func(said) bool) bool { return slices.ContainsFunc(s.Lines(), is) }

func (s *service) awaitReport(generation int) said {
	s.t.Helper()
	return s.Await("report", isReport(generation))
}

func (s *service) awaitDraining(generation int) {
	s.t.Helper()
	s.Await("drain", func(l said) bool {
		return l.What == "draining" && l.Generation == generation
	})
}

// awaitTransferred waits for a report that the given number of connections was handed over, and
// that none was closed or cut.
func (s *service) awaitTransferred(generation, connections int) {
	s.t.Helper()
	if r := s.awaitReport(generation); r.Transferred != connections || r.Closed+r.Cut > 0 {
		s.t.Errorf("process %d: %+v", generation, r)
	}
}

func isReport(generation int) func(said) bool {
	return func(l said) bool { return l.What == "DrainReport" && l.Generation == generation }
}

func (s *service) awaitLeft(generation int) said {
	s.t.Helper()
	return s.Await("end of a process", func(l said) bool {
		return l.What == "left" && l.Generation == generation
	})
}

// dialers returns the ways to connect to the service.
func (s *service) dialers() map[string]func() *connection {
	return map[string]func() *connection{
		"plain": s.connect,
		"unix":  func() *connection { return dial(s.t, "unix", s.unix) },
		"tls": func() *connection {
			c := dial(s.t, "tcp", s.tls)
			trust := s.trust.Clone()
			trust.ServerName = "127.0.0.1"
			c.Conn = tls.Client(c.Conn, trust) // shakes hands with the first byte
			c.reader.Reset(c.Conn)
			return c
		},
	}
}

func (s *service) connect() *connection { return dial(s.t, "tcp", s.plain) }

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
