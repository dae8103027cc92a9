//go:build unix

package handoff

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// A successor that does not know this protocol, such as one of facebookgo/grace, leaves the
// variable in its environment and the descriptors open. Both reach its children and their children,
// which may know the protocol again.

// Expected reports whether the environment announces a link for this process rather than for an
// older one.
func Expected() bool {
	value, ok := os.LookupEnv(EnvLink)
	if !ok {
		return false
	}
	a, err := parseAnnounced(value)
	return err != nil || !a.passedOn()
}

// passedOn reports whether the parent of this process did not make the variable but was started
// with it. If it was not started with it either, the process that made the variable is dead, and
// this process has a new parent.
func (a announced) passedOn() bool {
	parent := os.Getppid()
	if parent == a.announcer || parent <= 1 {
		return false
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", parent))
	if err != nil {
		return true // unknown; nearly always PID 1 adopts orphans
	}
	return slices.Contains(strings.Split(string(environ), "\x00"), EnvLink+"="+a.value)
}

// takeLive returns a link that was passed on if its other end is open: then a program between the
// two processes, such as a shell, has passed it on correctly. Otherwise the link is left over, and
// takeLive closes it and its descriptors.
func (a announced) takeLive(sockets int) (*Link, []*os.File) {
	l, files, err := a.take(sockets)
	if err == nil && !l.isHungUp() {
		return l, files
	}
	if err == nil {
		_ = CloseAll(files)
		_ = l.Close()
	}
	a.discard(sockets)
	return nil, nil
}

// discard closes the announced descriptors that are left. Some of the numbers may belong to
// inherited sockets now. At the others, a descriptor that came through exec is the announced one:
// files that a Go program opens are close-on-exec.
func (a announced) discard(sockets int) {
	for n := max(a.fd, fds.First+sockets); n <= a.fd+a.following; n++ {
		if fds.CheckInherited(n) == nil {
			_ = unix.Close(n)
		}
	}
}

// Ignore removes the variable of a link that must not be taken, and reports whether it was there.
// The descriptors stay open, as any others that the parent may have passed, and become
// close-on-exec.
func Ignore() bool {
	value, ok := os.LookupEnv(EnvLink)
	_ = os.Unsetenv(EnvLink) // the name is valid
	if a, err := parseAnnounced(value); err == nil {
		for n := a.fd; n <= a.fd+a.following; n++ {
			unix.CloseOnExec(n)
		}
	}
	return ok
}

// isHungUp reports whether the other end is closed, even if there is still something to receive.
func (l *Link) isHungUp() bool {
	hungUp := false
	err := fds.Control(l.conn, func(fd int) error {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(poll, 0)
		hungUp = err == nil && poll[0].Revents&unix.POLLHUP != 0
		return nil
	})
	return err != nil || hungUp
}

// Ended returns a link whose other end is closed. It stands in for the link to a process that has
// none.
func Ended() (*Link, error) {
	ours, theirs, err := Pair()
	if err != nil {
		return nil, err
	}
	return ours, theirs.Close()
}
