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

// envLink names the descriptor of the successor's end.
const envLink = "GRACE_LINK"

// Pair makes a link. The second end is for the successor: it is passed on as a bare descriptor, and then closed here.
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
	syscall.ForkLock.RLock() // no fork may come between the call and the flags
	defer syscall.ForkLock.RUnlock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(pair[0])
	unix.CloseOnExec(pair[1])
	return pair[0], pair[1], nil
}

// NewLink makes a link of a descriptor, which it takes.
func NewLink(f *os.File) (*Link, error) {
	conn, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("link is a %s connection and no unix socket", conn.LocalAddr().Network()), conn.Close())
	}
	return &Link{conn: uc}, nil
}

// Announce gives the variable that tells a successor the number of its end, how many descriptors follow it, and which process
// says so: this one.
func Announce(fd, following int) string {
	return fmt.Sprintf("%s=%d,%d,%d", envLink, fd, following, os.Getpid())
}

// TakeLink gives the link to the old process and the descriptors that follow it, and removes their variable from the
// environment; nil if there is none. All of them are close-on-exec from then on, and the caller's to close. So many sockets of
// the service have been passed before them.
//
// A link that was meant for an older process is none, see [Expected]; its descriptors are closed.
func TakeLink(sockets int) (*Link, []*os.File, error) {
	value, ok := os.LookupEnv(envLink)
	if !ok {
		return nil, nil, nil
	}
	if err := os.Unsetenv(envLink); err != nil {
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

// announced is the variable.
type announced struct {
	value         string
	fd, following int
	by            int // the process that says so
}

// maxFollowing is far more than a successor is ever passed.
const maxFollowing = 1 << 16

func parseAnnounced(value string) (announced, error) {
	fields := append(strings.SplitN(value, ",", 3), "", "")
	n, err := strconv.ParseInt(fields[0], 10, 32) // the kernel would look at 32 bits
	if err != nil || n < fds.First {
		return announced{}, fmt.Errorf("%s=%q does not begin with the number of a descriptor beyond the standard streams", envLink, value)
	}
	k, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil || k > maxFollowing {
		return announced{}, fmt.Errorf("%s=%q does not go on with the number of descriptors that follow", envLink, value)
	}
	by, err := strconv.ParseInt(fields[2], 10, 32)
	if err != nil || by < 1 {
		return announced{}, fmt.Errorf("%s=%q does not end with the number of the old process", envLink, value)
	}
	return announced{value: value, fd: int(n), following: int(k), by: int(by)}, nil
}

// take takes the descriptors.
func (a announced) take(sockets int) (*Link, []*os.File, error) {
	if a.fd < fds.First+sockets {
		return nil, nil, fmt.Errorf("%s=%s, but descriptor %d is one of the %d sockets", envLink, a.value, a.fd, sockets)
	}
	for n := a.fd; n <= a.fd+a.following; n++ {
		if !cameByExec(n) {
			return nil, nil, fmt.Errorf("%s=%s, but no descriptor %d was passed to this process", envLink, a.value, n)
		}
	}
	if _, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, nil, fmt.Errorf("%s=%s, but descriptor %d is no socket", envLink, a.value, a.fd)
	}
	files := take(a.fd, a.following)
	link, err := NewLink(files[0])
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s=%s: %w", envLink, a.value, err), CloseAll(files[1:]))
	}
	return link, files[1:], nil
}

// cameByExec reports whether a descriptor was inherited. What was is not close-on-exec, and all that Go opens is: another
// descriptor is not ours to take.
func cameByExec(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// take makes files of a descriptor and those that follow it.
func take(fd, following int) []*os.File {
	files := make([]*os.File, 0, 1+following)
	for n := fd; n <= fd+following; n++ {
		unix.CloseOnExec(n)
		files = append(files, os.NewFile(uintptr(n), fmt.Sprintf("descriptor %d", n)))
	}
	return files
}

// Unannounced returns env without the variable.
func Unannounced(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		if len(entry) <= len(envLink) || entry[:len(envLink)+1] != envLink+"=" {
			kept = append(kept, entry)
		}
	}
	return kept
}

// isEnd reports whether an error of Read means that the other process has closed its end; a reset is what closing with
// unread bytes looks like.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// writeSome writes as much as there is room for, which may be nothing.
func writeSome(conn syscall.Conn, b []byte) (n int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.Write(int(fd), b) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		err = nil
	}
	return max(n, 0), errors.Join(controlErr, err)
}

// readSome reads what is there. If there is nothing, that is io.EOF.
func readSome(conn syscall.Conn, b []byte) (n int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	closed := raw.Control(func(fd uintptr) {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			n, err = unix.Read(int(fd), b)
		}
	})
	switch {
	case closed != nil:
		return 0, closed
	case n == 0 || errors.Is(err, unix.EAGAIN):
		return 0, io.EOF
	}
	return max(n, 0), err
}
