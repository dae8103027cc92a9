//go:build linux

package grace

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/handoff"
)

// newDirectory makes a directory that every user can reach, but nobody else change.
func newDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "grace")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// releases makes two versions, in a directory of their own, and a link to the first one in another.
func releases(t *testing.T) (first, second, link string) {
	t.Helper()
	dir, links := newDirectory(t), newDirectory(t)
	first, second = filepath.Join(dir, "v1"), filepath.Join(dir, "v2")
	copyBinary(t, first)
	copyBinary(t, second)
	link = filepath.Join(links, "current")
	turn(t, link, first)
	return first, second, link
}

// turn makes a symbolic link lead to another file.
func turn(t *testing.T, link, to string) {
	t.Helper()
	if err := errors.Join(os.Symlink(to, link+".new"), os.Rename(link+".new", link)); err != nil {
		t.Fatal(err)
	}
}

// Whoever can turn the link by which a process was started must not choose what its successors execute.
func TestPathThatOthersCanTurnIsNotFollowed(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, c *config, links string){
		"sudo":                  func(_ *testing.T, c *config, _ string) { c.Env = []string{"SUDO_UID=1000", "SUDO_USER=me"} },
		"doas":                  func(_ *testing.T, c *config, _ string) { c.Env = []string{"DOAS_USER=me"} },
		"everybody's directory": func(t *testing.T, _ *config, links string) { chmod(t, links, 0o777) },
		"a group's directory":   func(t *testing.T, _ *config, links string) { chmod(t, links, 0o775) },
	} {
		t.Run(name, func(t *testing.T) {
			first, second, link := releases(t)
			c := tcpOnly
			c.Start = link
			prepare(t, &c, filepath.Dir(link))
			s := start(t, "lines", c)
			said := s.Await("that the path does not count", finished("PathIgnored", 0))
			if !strings.Contains(said.Detail, "path="+link+" executable="+first+" ") {
				t.Errorf("it says %q", said.Detail)
			}
			turn(t, link, second)
			for range 2 { // later generations know it too
				s.upgrade()
				if got := s.executes(); got != first {
					t.Errorf("the successor executes %s", got)
				}
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// A user may have made a hard link to the program where he can replace it.
func TestPrivilegedStartOfAFileThatOthersCanReplace(t *testing.T) {
	dir := newDirectory(t)
	path := filepath.Join(dir, "service")
	copyBinary(t, path)
	chmod(t, dir, 0o777)
	c := tcpOnly
	c.Start, c.Env = path, []string{"SUDO_UID=1000"}
	s := start(t, "lines", c)
	_, pid := s.serving()
	if got := s.ask("upgrade"); !strings.Contains(got, dir+" can be changed by other users") || !strings.Contains(got, "WithExecutable") {
		t.Errorf("Upgrade returned %q", got)
	}
	if _, now := s.serving(); now != pid {
		t.Errorf("process %d serves", now)
	}
	chmod(t, dir, 0o755)
	s.upgrade()
}

// A name in /proc leads to the file of the process that is there, and never to a new version.
func TestNameInProcIsNoPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service")
	copyBinary(t, path)
	p := program{}
	if err := p.choosePath([]string{"/proc/self/exe"}, false); err != nil || strings.HasPrefix(p.path, "/proc/") || len(p.notices) > 0 {
		t.Errorf("successors execute %s, %v, %v", p.path, p.notices, err)
	}
}

// elevations are the ways in which a file gives rights to whoever executes it.
var elevations = map[string]func(path string) error{
	"set-user-ID":  func(path string) error { return os.Chmod(path, 0o755|os.ModeSetuid) },
	"set-group-ID": func(path string) error { return os.Chmod(path, 0o755|os.ModeSetgid) },
	"capabilities": capable(unix.CAP_NET_BIND_SERVICE),
}

// capable returns a function that gives a capability to whoever executes a file, see capabilities(7).
func capable(capability int) func(path string) error {
	return func(path string) error {
		const revision2, effective = 0x02000000, 1
		value := binary.LittleEndian.AppendUint32(nil, revision2|effective)
		value = binary.LittleEndian.AppendUint32(value, 1<<capability)
		return unix.Setxattr(path, "security.capability", append(value, make([]byte, 12)...), 0)
	}
}

// elevated makes a copy of this binary that has more rights than a stranger who executes it, or skips the test.
func elevated(t *testing.T, elevate func(path string) error) string {
	t.Helper()
	path := filepath.Join(newDirectory(t), "service")
	copyBinary(t, path)
	err := elevate(path)
	if err == nil {
		err = canElevate(path)
	}
	switch {
	case err == nil:
		return path
	case os.Getenv("GRACE_REQUIRE_SETUID") != "":
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// canElevate returns an error unless this process can have a stranger execute the file with rights that he lacks.
func canElevate(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return err
	}
	none, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil || none != 0 || os.Getuid() != 0 || fs.Flags&unix.ST_NOSUID != 0 {
		return errors.New("needs root without no_new_privs, and a temporary directory without the mount option nosuid")
	}
	cmd := exec.Command(path, "-test.run=^$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	return cmd.Run() // the user may not exist in this container
}

const stranger = 65534 // a user without rights

// The successor of an elevated process is elevated too, and yet takes the sockets: the same service has passed them.
func TestElevatedServiceUpgrades(t *testing.T) {
	for name, elevate := range elevations {
		t.Run(name, func(t *testing.T) {
			c := tcpOnly
			c.Start, c.As = elevated(t, elevate), stranger
			s := start(t, "lines", c)
			s.upgrade()
			s.upgrade()
			if s.count(finished("AnnouncementIgnored", 0)) > 0 {
				t.Error("the sockets of the old process were ignored")
			}
		})
	}
}

// Its user could have made the link before he executed the service, to give it orders that he may not carry out himself.
func TestDangerousCapabilitiesForbidUpgrades(t *testing.T) {
	c := tcpOnly
	c.Start, c.As = elevated(t, capable(unix.CAP_KILL)), stranger
	s := start(t, "lines", c)
	_, pid := s.serving()
	if got := s.ask("upgrade"); !strings.Contains(got, "cannot be proved") || !strings.Contains(got, "ambient") {
		t.Errorf("Upgrade returned %q", got)
	}
	if _, now := s.serving(); now != pid {
		t.Errorf("process %d serves", now)
	}
}

// forgerMain is an unprivileged process that starts the program as if it were its successor, with the descriptor of another
// process for it to end, and sockets.
func forgerMain(c config) error {
	ours, theirs, err := handoff.Pair()
	if err != nil {
		return err
	}
	defer ours.Close()
	err = ours.Queue(&handoff.Hello{
		Version: handoff.Version, PID: os.Getpid(), Generation: 7, Timeout: time.Minute, Drain: time.Minute,
		Extras: []handoff.ExtraFile{{Use: handoff.UseProcess, PID: os.Getpid()}},
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	victim, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		return err
	}
	cmd := exec.Command(c.Program)
	cmd.Env = append(os.Environ(), envMain+"=lines", "LISTEN_FDS=1", handoff.Announce(4, 1))
	cmd.ExtraFiles = []*os.File{socket, theirs, os.NewFile(uintptr(victim), "victim")}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	printEvent("ForgerStarts", "")
	return cmd.Run()
}

// What an unprivileged parent announces to an elevated process is ignored, and nobody's business but its own.
func TestElevatedProcessIgnoresAnnouncements(t *testing.T) {
	usedMains.Store("forger", true) // also where it cannot run
	for name, elevate := range elevations {
		t.Run(name, func(t *testing.T) {
			c := tcpOnly
			c.Program, c.As = elevated(t, elevate), stranger
			s := launch(t, "forger", c)
			ready := s.Await("the service", finished("ReadyFinished", 0))
			if ready.Generation != 1 || ready.Err != "" {
				t.Errorf("it says %+v", ready)
			}
			if s.count(finished("AnnouncementIgnored", ready.PID)) != 1 {
				t.Error("it does not say that it has ignored anything")
			}
			opened := s.Await("its socket", finished("SocketOpened", ready.PID))
			if !strings.Contains(opened.Detail, "inherited=false") {
				t.Errorf("it has taken a socket: %s", opened.Detail)
			}
			s.upgrade() // of its own
			if got := s.census().Env; len(got) > 0 {
				t.Errorf("variables are left over: %v", got)
			}
		})
	}
}
