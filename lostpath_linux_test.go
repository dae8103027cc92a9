package grace

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// startUnix starts a service that is asked over TCP, and has a unix socket beside it.
func startUnix(t *testing.T) (s *service, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	return start(t, "lines", config{Listen: []endpoint{
		{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "unix", Address: path},
	}}), path
}

// A path that somebody removes is an outage for new clients. It ends with the next upgrade, which
// says so, and the upgrades after that find nothing to say.
func TestLostPathIsBoundAgainByAnUpgrade(t *testing.T) {
	s, path := startUnix(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
	s.awaitEvent("the warning", "PathRebound", 2, path)
	s.mustReach(1, 2)
	s.upgrade()
	s.mustReach(1, 3)
	if n := s.count(finished("PathRebound", 0)); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
}

func TestLostPathOfAnotherProcessIsReported(t *testing.T) {
	s, path := startUnix(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s.upgrade()
	lost := s.awaitEvent("the error", "PathLost", 2, path)
	if !strings.Contains(lost.Err, "a process is listening on "+path) {
		t.Errorf("the error is %q", lost.Err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
}

// A client that asks for the process behind a socket gets the one that serves, and not one that is
// gone, whose number may be another process's by then.
func TestClientsSeeTheServingProcess(t *testing.T) {
	s, path := startUnix(t)
	for range 3 {
		_, pid := s.serving()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if got := peerPID(t, c.(syscall.Conn)); got != pid {
			t.Errorf("clients see the process %d, and %d serves", got, pid)
		}
		c.Close()
		s.upgrade()
	}
	_, pid := s.serving()
	s.misbehave("exit-after-listen")
	s.ask("upgrade")
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := peerPID(t, c.(syscall.Conn)); got != pid {
		t.Errorf("after a failed upgrade clients see the process %d, and %d serves", got, pid)
	}
}

func peerPID(t *testing.T, c syscall.Conn) (pid int) {
	t.Helper()
	if err := fds.Control(c, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			pid = int(cred.Pid)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return pid
}
