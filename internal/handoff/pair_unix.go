//go:build unix

package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// Pair makes a link. The second end is passed to the successor as a descriptor, and the caller then
// closes it.
func Pair() (*Link, *os.File, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	link, err := NewLink(os.NewFile(uintptr(ours), "link"))
	if err != nil {
		return nil, nil, errors.Join(err, unix.Close(theirs))
	}
	return link, os.NewFile(uintptr(theirs), "successor's end of the link"), nil
}

func socketpair() (ours, theirs int, err error) {
	syscall.ForkLock.RLock() // no fork may happen between the call and the flags
	defer syscall.ForkLock.RUnlock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, 0, fds.ExplainLimit(os.NewSyscallError("socketpair", err))
	}
	unix.CloseOnExec(pair[0])
	unix.CloseOnExec(pair[1])
	return pair[0], pair[1], nil
}

// NewLink makes a link from a descriptor, which it takes.
func NewLink(f *os.File) (*Link, error) {
	conn, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fds.ExplainLimit(err)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		err := fmt.Errorf("the link is a %s connection, not a unix socket",
			conn.LocalAddr().Network())
		return nil, errors.Join(err, conn.Close())
	}
	return &Link{conn: uc, socket: unixSocket{uc}}, nil
}

// Announce returns the variable that tells a successor the number of its end of the link, how many
// descriptors follow it, and the PID of this process.
func Announce(fd, following int) string {
	return fmt.Sprintf("%s=%d,%d,%d", EnvLink, fd, following, os.Getpid())
}

// TakeLink returns the link to the old process and the descriptors that follow it, or nil if there
// is none. It removes their variable from the environment and makes them close-on-exec. The caller
// closes them. They come after the given number of inherited sockets.
//
// TakeLink ignores a link that was meant for an older process, see [Expected], and closes its
// descriptors.
func TakeLink(sockets int) (*Link, []*os.File, error) {
	value, ok := os.LookupEnv(EnvLink)
	if !ok {
		return nil, nil, nil
	}
	if err := os.Unsetenv(EnvLink); err != nil {
		return nil, nil, err
	}
	a, err := parseAnnounced(value)
	switch {
	case err != nil:
		return nil, nil, err
	case a.passedOn():
		l, files := a.takeLive(sockets)
		return l, files, nil
	}
	return a.take(sockets)
}

// announced is the parsed variable.
type announced struct {
	value         string
	fd, following int
	announcer     int // PID of the process that made it
}

func parseAnnounced(value string) (announced, error) {
	fields := append(strings.SplitN(value, ",", 3), "", "")
	n, errFD := strconv.ParseInt(fields[0], 10, 32) // the kernel would look at 32 bits
	k, errCount := strconv.ParseUint(fields[1], 10, 32)
	by, errPID := strconv.ParseInt(fields[2], 10, 32)
	err := errors.Join(errFD, errCount, errPID)
	if err != nil || n < fds.First || k > MaxExtras || by < 1 {
		return announced{}, fmt.Errorf("%w: %s=%q is not what an old process sets for its "+
			"successor, three numbers (descriptor,count,PID): unset it",
			fds.ErrEnvironment, EnvLink, value)
	}
	return announced{value: value, fd: int(n), following: int(k), announcer: int(by)}, nil
}

// take takes the announced descriptors.
func (a announced) take(sockets int) (*Link, []*os.File, error) {
	if err := a.check(sockets); err != nil {
		return nil, nil, fmt.Errorf("%w: %s=%s announces the old process %d, but %w: unset it "+
			"if no old process has started this one",
			fds.ErrEnvironment, EnvLink, a.value, a.announcer, err)
	}
	files := take(a.fd, a.following)
	link, err := NewLink(files[0])
	if err != nil {
		err = fmt.Errorf("%w: %s=%s: %w", fds.ErrEnvironment, EnvLink, a.value, err)
		return nil, nil, errors.Join(err, CloseAll(files[1:]))
	}
	return link, files[1:], nil
}

// check returns an error unless all announced descriptors were passed, the first of them a socket.
func (a announced) check(sockets int) error {
	if a.fd < fds.First+sockets {
		return fmt.Errorf("descriptor %d is one of the %d sockets", a.fd, sockets)
	}
	for n := a.fd; n <= a.fd+a.following; n++ {
		if err := fds.CheckInherited(n); err != nil {
			return err
		}
	}
	if _, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return fmt.Errorf("descriptor %d is not a socket", a.fd)
	}
	return nil
}

// take makes files from a descriptor and the ones that follow it.
func take(fd, following int) []*os.File {
	files := make([]*os.File, 0, 1+following)
	for n := fd; n <= fd+following; n++ {
		unix.CloseOnExec(n)
		files = append(files, os.NewFile(uintptr(n), fmt.Sprintf("descriptor %d", n)))
	}
	return files
}

// IsEnd reports whether an error of a link means that the other process has closed its end. If it
// closes its end with unread bytes, the kernel reports a reset.
func IsEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

func writeNow(conn syscall.Conn, b []byte) (n int, err error) {
	err = fds.Control(conn, func(fd int) (err error) {
		n, err = unix.Write(fd, b)
		return err
	})
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return max(n, 0), err
}

func readNow(conn syscall.Conn, b []byte) (n int, err error) {
	err = fds.Control(conn, func(fd int) error {
		for {
			n, err = unix.Read(fd, b)
			if !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	switch {
	case err == nil && n == 0:
		return 0, io.EOF
	case errors.Is(err, unix.EAGAIN):
		return 0, errNothing
	}
	return max(n, 0), err
}
