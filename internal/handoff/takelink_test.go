//go:build unix

package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("successor", successorHelper)
	helpertest.Register("deceived", deceivedHelper)
}

// successorHelper takes its link and sends back the identity of the handoff.
func successorHelper() error {
	l, following, err := TakeLink(0)
	if len(following) > 0 {
		return errors.Join(errors.New("more was taken than was announced"), CloseAll(following))
	}
	if err != nil {
		return err
	}
	defer l.Close()
	if _, ok := os.LookupEnv(EnvLink); ok {
		return errors.New("the variable is left for the next child")
	}
	if flags, err := unix.FcntlInt(3, unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
		return errors.New("the descriptor is left for the next child")
	}
	m, err := l.Receive(context.Background())
	if err != nil {
		return err
	}
	return l.Send(context.Background(), &Failed{Reason: m.(*Hello).Handoff})
}

// deceivedHelper is told that its standard input is the link. A service manager may have made that
// a socket.
func deceivedHelper() error {
	_, _, err := TakeLink(0)
	fmt.Print(err != nil, helpertest.IsOpen(0))
	return nil
}

func TestTakeLinkInSuccessor(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	end := startHelper(t, "successor", []string{Announce(3, 0)}, noFile, theirs.Fd())
	must(t, theirs.Close())
	must(t, link.Send(within(t), hello()))
	wantMessage(t, link, &Failed{Reason: hello().Handoff})
	if m, err := link.Receive(within(t)); err == nil {
		t.Errorf("after its end: %+v", m)
	}
	end()
}

const noFile = ^uintptr(0)

func TestTakeLinkLeavesStandardStreams(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	end := startHelper(t, "deceived", []string{Announce(0, 0)}, theirs.Fd())
	must(t, theirs.Close())
	if got := end(); got != "true true" {
		t.Errorf("got %q, want an error and the stream left open", got)
	}
}

// Only the successor gets the end of a link that Pair makes for it.
func TestPairIsCloseOnExec(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	defer theirs.Close()
	for _, fd := range []int{int(theirs.Fd()), fdOf(t, link.conn)} {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil ||
			flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d would leak into every child: %v", fd, err)
		}
	}
}

func TestTakeLinkWithoutVariable(t *testing.T) {
	t.Setenv(EnvLink, "")
	must(t, os.Unsetenv(EnvLink))
	if l, _, err := TakeLink(0); l != nil || err != nil {
		t.Errorf("got %v, %v; want nothing", l, err)
	}
}

// passed returns a descriptor as execve would leave it to a child.
func passed(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.Dup(fd)
	must(t, err)
	return n
}

func fdOf(t *testing.T, conn syscall.Conn) int {
	t.Helper()
	var number int
	must(t, fds.Control(conn, func(fd int) error {
		number = fd
		return nil
	}))
	return number
}

func TestTakeLinkRefusesLies(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	defer theirs.Close()
	file, err := os.Open(os.Args[0])
	must(t, err)
	defer file.Close()
	good, afile := passed(t, int(theirs.Fd())), passed(t, int(file.Fd()))
	listener := passed(t, fdOf(t, tcpListener(t)))
	defer unix.Close(good)
	defer unix.Close(afile)
	parent := "," + strconv.Itoa(os.Getppid())
	malformed := "three numbers (descriptor,count,PID): unset it"
	tests := []struct {
		what, value, says string
		keeps             int // a descriptor that must stay open; -1 for none
	}{
		{"a word", "three", `GRACE_LINK="three" is not what an old process sets`, -1},
		{"nothing", "", `GRACE_LINK=""`, -1},
		{"a negative number", "-1", `GRACE_LINK="-1"`, -1},
		{"a number with a blank", " " + strconv.Itoa(good) + ",0" + parent, "GRACE_LINK=", good},
		{"more than an int", "99999999999999999999", "GRACE_LINK=", -1},
		// The kernel would see the low half.
		{"more than a descriptor", strconv.FormatInt(1<<32+int64(good), 10) + ",0" + parent,
			"GRACE_LINK", good},
		{"no count", strconv.Itoa(good), malformed, good},
		{"a count below zero", strconv.Itoa(good) + ",-1", malformed, good},
		{"a count beyond reason", strconv.Itoa(good) + ",100000", malformed, good},
		{"no process", strconv.Itoa(good) + ",0", malformed, good},
		{"a process below one", strconv.Itoa(good) + ",0,0", malformed, good},
		{"more fields", strconv.Itoa(good) + ",0" + parent + ",1", malformed, good},
		{"more than was passed", strconv.Itoa(good) + ",1000" + parent, "but descriptor ", good},
		{"closed", "1000,0" + parent,
			"but descriptor 1000 is closed: unset it if no old process has started this one", -1},
		{"a file", strconv.Itoa(afile) + ",0" + parent, "is not a socket", afile},
		{"opened by this process", strconv.Itoa(int(theirs.Fd())) + ",0" + parent,
			"was opened by this process", int(theirs.Fd())},
		{"a TCP socket", strconv.Itoa(listener) + ",0" + parent,
			"GRACE_LINK=" + strconv.Itoa(listener), -1},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Setenv(EnvLink, tt.value)
			before := len(helpertest.OpenDescriptors())
			l, _, err := TakeLink(0)
			if l != nil || !errors.Is(err, fds.ErrEnvironment) ||
				!strings.Contains(err.Error(), tt.says) ||
				!strings.Contains(err.Error(), EnvLink) {
				t.Fatalf("got %v, %v; want ErrEnvironment, and words like %q", l, err, tt.says)
			}
			if _, ok := os.LookupEnv(EnvLink); ok {
				t.Error("the variable is still set")
			}
			if now := len(helpertest.OpenDescriptors()); now > before {
				t.Errorf("%d descriptors are left", now-before)
			}
			if tt.keeps >= 0 && !helpertest.IsOpen(tt.keeps) {
				t.Errorf("descriptor %d was closed", tt.keeps)
			}
		})
	}
}

func tcpListener(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.(*net.TCPListener)
}

// The descriptors that follow the link are taken with it and are close-on-exec.
func TestTakeLinkWithFollowing(t *testing.T) {
	link, theirs, err := Pair()
	must(t, err)
	defer link.Close()
	file, err := os.Open(os.Args[0])
	must(t, err)
	const at = 700 // where nothing else is
	for i, f := range []*os.File{theirs, file, file} {
		_, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, at+i)
		must(t, err)
	}
	must(t, errors.Join(theirs.Close(), file.Close()))
	t.Setenv(EnvLink, strings.TrimPrefix(Announce(at, 2), EnvLink+"="))
	taken, following, err := TakeLink(0)
	must(t, err)
	if len(following) != 2 || following[0].Fd() != at+1 || following[1].Fd() != at+2 {
		t.Errorf("took %v", following)
	}
	for _, f := range following {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil ||
			flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is left for the next child: %v", f.Name(), err)
		}
	}
	must(t, link.Send(within(t), &Ready{}))
	wantMessage(t, taken, &Ready{})
	must(t, errors.Join(CloseAll(following), taken.Close()))
}

// A variable is either understood as Announce writes it, or refused with its name.
func FuzzAnnounced(f *testing.F) {
	for _, value := range []string{
		"", "7", "7,2,4711", "3,0,1", "2,0,1", "7,65537,1", "7,0,0",
		"+7,0,1", "7,2,4711,5", "7,-1,12", "99999999999,0,1",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		a, err := parseAnnounced(value)
		if err != nil {
			if !strings.Contains(err.Error(), EnvLink) {
				t.Errorf("%v does not name the variable", err)
			}
			return
		}
		if a.fd < 3 || a.following < 0 || a.following > MaxExtras || a.announcer < 1 {
			t.Errorf("%q was understood as %+v", value, a)
		}
		a.value = fmt.Sprintf("%d,%d,%d", a.fd, a.following, a.announcer)
		if again, err := parseAnnounced(a.value); err != nil || again != a {
			t.Errorf("%q became %+v, %v", value, again, err)
		}
	})
}
