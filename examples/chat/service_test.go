//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience bounds each wait of a test, for something that will happen.
const patience = servicetest.Patience

// service is the program with all its generations.
type service struct {
	*servicetest.Service[string]
	addr string
	path string // of a symbolic link to the program
}

func start(t *testing.T) *service {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{path: filepath.Join(t.TempDir(), "chat")}
	s.replace(t, self)
	cmd := servicetest.Command(nil)
	cmd.Path, cmd.Args = s.path, []string{s.path}
	s.addr = servicetest.Listen(t, cmd)
	s.Service = servicetest.StartLog(t, cmd)
	s.AwaitReady(1)
	t.Cleanup(func() {
		_, pid := s.Newest()
		_ = syscall.Kill(pid, syscall.SIGTERM) // the test may have done so
		if err := s.AwaitEnd(); err != nil {
			t.Errorf("the first process ended with %v", err)
		}
	})
	return s
}

// replace installs another program.
func (s *service) replace(t *testing.T, target string) {
	t.Helper()
	if err := os.Symlink(target, s.path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		t.Fatal(err)
	}
}

// awaitDrained waits until the drain of a generation has finished.
func (s *service) awaitDrained(generation int) {
	line := regexp.MustCompile(fmt.Sprintf(` INFO drain finished .*generation=%d `, generation))
	s.Await("end of a drain", line.MatchString)
}
