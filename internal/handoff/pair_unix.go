//go:build unix

package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
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
	link, err := newLink(ours)
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

// newLink makes a link of a descriptor, which it takes.
func newLink(fd int) (*Link, error) {
	f := os.NewFile(uintptr(fd), "link")
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

// Announce gives the variable that tells a successor the number of its end.
func Announce(fd int) string { return envLink + "=" + strconv.Itoa(fd) }

// TakeLink gives the link to the old process, and removes its variable from the environment; nil if there is none.
func TakeLink() (*Link, error) {
	value, ok := os.LookupEnv(envLink)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(envLink); err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(value, 10, 32) // the kernel would look at 32 bits
	fd := int(n)
	if err != nil || fd < fds.First {
		return nil, fmt.Errorf("%s=%q is not the number of a descriptor beyond the standard streams", envLink, value)
	}
	// What was inherited is not close-on-exec, and all that Go opens is: another descriptor is not ours to take.
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, fmt.Errorf("%s=%d, but no such descriptor was passed to this process", envLink, fd)
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, fmt.Errorf("%s=%d, but this descriptor is no socket", envLink, fd)
	}
	unix.CloseOnExec(fd)
	link, err := newLink(fd)
	if err != nil {
		return nil, fmt.Errorf("%s=%d: %w", envLink, fd, err)
	}
	return link, nil
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
