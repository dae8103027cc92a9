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
	link, err := NewLink(os.NewFile(uintptr(ours), "link"), "")
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

// NewLink makes a link of a descriptor, which it takes. What was heard is received first.
func NewLink(f *os.File, heard string) (*Link, error) {
	conn, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("link is a %s connection and no unix socket", conn.LocalAddr().Network()), conn.Close())
	}
	return &Link{conn: uc, buf: []byte(heard)}, nil
}

// Announce gives the variable that tells a successor the number of its end, and how many descriptors follow it.
func Announce(fd, following int) string { return fmt.Sprintf("%s=%d,%d", envLink, fd, following) }

// TakeLink gives the link to the old process and the descriptors that follow it, and removes their variable from the
// environment; nil if there is none. All of them are close-on-exec from then on, and the caller's to close.
func TakeLink() (*Link, []*os.File, error) {
	value, ok := os.LookupEnv(envLink)
	if !ok {
		return nil, nil, nil
	}
	if err := os.Unsetenv(envLink); err != nil {
		return nil, nil, err
	}
	fd, following, err := parseAnnounced(value)
	if err != nil {
		return nil, nil, err
	}
	for n := fd; n <= fd+following; n++ {
		// What was inherited is not close-on-exec, and all that Go opens is: another descriptor is not ours to take.
		if flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return nil, nil, fmt.Errorf("%s=%s, but no descriptor %d was passed to this process", envLink, value, n)
		}
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return nil, nil, fmt.Errorf("%s=%s, but descriptor %d is no socket", envLink, value, fd)
	}
	files := take(fd, following)
	link, err := NewLink(files[0], "")
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s=%s: %w", envLink, value, err), CloseAll(files[1:]))
	}
	return link, files[1:], nil
}

// maxFollowing is far more than a successor is ever passed.
const maxFollowing = 1 << 16

func parseAnnounced(value string) (fd, following int, err error) {
	first, second, _ := strings.Cut(value, ",")
	n, err := strconv.ParseInt(first, 10, 32) // the kernel would look at 32 bits
	if err != nil || n < fds.First {
		return 0, 0, fmt.Errorf("%s=%q does not begin with the number of a descriptor beyond the standard streams", envLink, value)
	}
	k, err := strconv.ParseUint(second, 10, 32)
	if err != nil || k > maxFollowing {
		return 0, 0, fmt.Errorf("%s=%q does not end with the number of descriptors that follow", envLink, value)
	}
	return int(n), int(k), nil
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
