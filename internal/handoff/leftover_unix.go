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

// A successor that does not know this protocol, one of facebookgo/grace, leaves the variable in its environment and the
// descriptors open. Both reach the processes that it starts, and theirs: one of them may know the protocol again.

// Expected reports whether the environment announces a link that was made for this process, and not for an older one.
func Expected() bool {
	value, ok := os.LookupEnv(envLink)
	if !ok {
		return false
	}
	a, err := parseAnnounced(value)
	return err != nil || !a.passedOn()
}

// passedOn reports whether our parent has not made the variable, but was started with it. If it was made neither by our parent
// nor for that, the process that made it is dead, and this one has got another parent.
func (a announced) passedOn() bool {
	parent := os.Getppid()
	if parent == a.by || parent <= 1 {
		return false
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", parent))
	if err != nil {
		return true // it cannot be told; nearly always it is PID 1 that gets orphans
	}
	return slices.Contains(strings.Split(string(environ), "\x00"), envLink+"="+a.value)
}

// takeLive gives a link that was passed on, if its other end is open: then a program between the two processes, such as a shell,
// has done what it should. Otherwise the link is left over, and all that came with it is closed.
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

// discard closes what is left of the announced descriptors. Some numbers may be those of sockets now. At the others, what came
// by exec is what was announced: nothing that a Go program opens gets there.
func (a announced) discard(sockets int) {
	for n := max(a.fd, fds.First+sockets); n <= a.fd+a.following; n++ {
		if cameByExec(n) {
			_ = unix.Close(n)
		}
	}
}

// isHungUp reports whether the other end is closed, also while there is something to receive.
func (l *Link) isHungUp() bool {
	hungUp := false
	raw, err := l.conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			poll := []unix.PollFd{{Fd: int32(fd)}}
			_, err := unix.Poll(poll, 0)
			hungUp = err == nil && poll[0].Revents&unix.POLLHUP != 0
		})
	}
	return err != nil || hungUp
}

// Ended gives a link whose other end is closed. It stands for the connection to a process that has none.
func Ended() (*Link, error) {
	ours, theirs, err := Pair()
	if err != nil {
		return nil, err
	}
	return ours, theirs.Close()
}
