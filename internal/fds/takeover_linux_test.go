package fds

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// handDown asks in a second Set for what a first one has opened.
func handDown(t *testing.T, first, second Ask, between func()) *Socket {
	t.Helper()
	old := openAsk(t, newSet(t), first)
	next, _ := newSetWith(t, passedSocket{old.Record(), old.Conn()})
	if between != nil {
		between()
	}
	return openAsk(t, next, second)
}

func wantInherited(t *testing.T, sock *Socket) {
	t.Helper()
	if !sock.Inherited() {
		t.Error("a new socket was bound")
	}
}

// The path of a service that has changed its root directory leads elsewhere, and clients outside
// still use the one that they know.
func TestPathInAnotherRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root directory")
	}
	ask := Ask{Network: "unix", Address: sockPath(t)}
	jail := filepath.Join(t.TempDir(), "jail")
	must(t, os.MkdirAll(filepath.Join(jail, filepath.Dir(ask.Address)), 0o755))
	root, err := os.Open("/")
	must(t, err)
	defer root.Close()
	sock := handDown(t, ask, ask, func() { must(t, unix.Chroot(jail)) })
	must(t, unix.Fchdir(int(root.Fd())))
	must(t, unix.Chroot("."))
	wantInherited(t, sock)
	if _, rebound, lost := sock.LostPath(); rebound || lost == nil {
		t.Errorf("bound again: %v, lost: %v", rebound, lost)
	}
	if !exists(ask.Address) {
		t.Error("the path is gone")
	}
}

// Some services remove a path that a crash may have left before they bind it.
func TestControlThatRemovesAPath(t *testing.T) {
	ask := Ask{Network: "unix", Address: sockPath(t)}
	ask.Config.Control = func(_, address string, _ syscall.RawConn) error {
		if err := os.Remove(address); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	wantInherited(t, handDown(t, ask, ask, nil))
	if !exists(ask.Address) {
		t.Error("the path of the old process was removed")
	}
}

// The shell calls a directory by the link that led to it, and another environment does not.
func TestRelativePathThroughALink(t *testing.T) {
	dir := sockDir(t)
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	must(t, os.Symlink("real", filepath.Join(dir, "link")))
	t.Chdir(filepath.Join(dir, "real"))
	t.Setenv("PWD", filepath.Join(dir, "link"))
	ask := Ask{Network: "unix", Address: "s"}
	wantInherited(t, handDown(t, ask, ask, func() { must(t, os.Unsetenv("PWD")) }))
}

// A new version may bind its socket to a device, or no longer do so. The kernel lets only one of
// both have the address.
func TestSocketThatIsInTheWay(t *testing.T) {
	plain := Ask{Network: "tcp", Address: freePort(t)}
	device := plain
	device.Config.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") }), err)
	}
	t.Run("device added", func(t *testing.T) { wantInherited(t, handDown(t, plain, device, nil)) })
	t.Run("device removed", func(t *testing.T) { wantInherited(t, handDown(t, device, plain, nil)) })
}

// The words suffice, and an upgrade does not wait for a name server.
func TestHostNameIsNotLookedUp(t *testing.T) {
	was := net.DefaultResolver
	defer func() { net.DefaultResolver = was }()
	asked := false
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			asked = true
			return nil, errors.New("there is no name server")
		},
	}
	ask := Ask{Network: "tcp", Address: "service.example:4711"}
	ask.Config.Control = func(string, string, syscall.RawConn) error { return nil }
	record := Record{Network: ask.Network, Address: ask.Address}
	next, _ := newSetWith(t, passedSocket{record, listenOn(t, "tcp", "127.0.0.1:0")})
	wantInherited(t, openAsk(t, next, ask))
	if asked {
		t.Error("the name server was asked")
	}
}

// Whoever has given sockets of one name that differ has chosen their order.
func TestGivenSocketsThatDiffer(t *testing.T) {
	var passed []passedSocket
	var want []uint64
	address := "127.0.0.1:0"
	for mark := 1; mark <= 2; mark++ {
		config := setting(intOption(unix.SOL_SOCKET, unix.SO_MARK, mark))
		ln, err := config.Listen(t.Context(), "tcp", address)
		if errors.Is(err, syscall.EPERM) {
			t.Skip("this system lets this user mark no socket:", err)
		}
		must(t, err)
		defer ln.Close()
		address = ln.Addr().String()
		passed = append(passed, passedSocket{Record{Given: true, Name: "web"}, ln})
		want = append(want, cookieOf(&Socket{conn: ln.(Conn)}))
	}
	next, _ := newSetWith(t, passed...)
	for i := range want {
		sock := openAsk(t, next, Ask{Network: "tcp", Address: address, Name: "web"})
		if wantInherited(t, sock); cookieOf(sock) != want[i] {
			t.Errorf("socket %d is another one", i)
		}
	}
}
