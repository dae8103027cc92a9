package fds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// setting returns a config that shares the port and sets the options.
func setting(set ...func(fd int) error) (c net.ListenConfig) {
	c.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			for _, do := range set {
				err = errors.Join(err, do(int(fd)))
			}
		}), err)
	}
	return c
}

func intOption(level, name, value int) func(fd int) error {
	return func(fd int) error { return unix.SetsockoptInt(fd, level, name, value) }
}

func onDevice(name string) func(fd int) error {
	return func(fd int) error { return unix.BindToDevice(fd, name) }
}

// successorOf returns a Set that inherits the sockets of another, in the same order.
func successorOf(s *Set) (*Set, error) {
	socks := s.Sockets()
	records := make([]Record, len(socks))
	numbers := make([]int, len(socks))
	for i, sock := range socks {
		records[i] = sock.Record()
		err := Control(sock.Conn(), func(fd int) (err error) {
			numbers[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, First)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	next := New()
	next.inherited = newInheritance(records)
	for i, fd := range numbers {
		next.inherited.descriptors[i].fd = fd
	}
	return next, nil
}

// generations opens sockets in one Set and asks for them in the order of asks in the next. It
// returns the indexes of the inherited ones, -1 for a new one.
func generations(opened, asks []Ask) (got []int, err error) {
	s := New()
	defer s.Close()
	var cookies []uint64
	for _, ask := range opened {
		sock, err := s.Open(context.Background(), ask)
		if err != nil {
			return nil, fmt.Errorf("first generation: %w", err)
		}
		cookies = append(cookies, cookieOf(sock))
	}
	next, err := successorOf(s)
	if err != nil {
		return nil, err
	}
	defer next.Close()
	for _, ask := range asks {
		sock, err := next.Open(context.Background(), ask)
		if err != nil {
			return got, fmt.Errorf("second generation: %w", err)
		}
		got = append(got, slices.Index(cookies, cookieOf(sock)))
	}
	return got, nil
}

// cookieOf identifies a socket in whatever process it is.
func cookieOf(sock *Socket) (cookie uint64) {
	_ = Control(sock.Conn(), func(fd int) error {
		b, err := unix.GetsockoptIPMreq(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		if err == nil {
			cookie = *(*uint64)(unsafe.Pointer(b))
		}
		return err
	})
	return cookie
}

// freeAddress returns an address that was free a moment ago.
func freeAddress() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err.Error()
	}
	defer ln.Close()
	return ln.Addr().String()
}

// swapped opens two sockets of equal words and asks for them in the other order.
func swapped(network, address string, one, other net.ListenConfig) ([]int, error) {
	a := Ask{Network: network, Address: address, Config: one}
	b := Ask{Network: network, Address: address, Config: other}
	return generations([]Ask{a, b}, []Ask{b, a})
}

var wantSwapped = []int{1, 0}

// Any user may bind a socket to a device, and every machine has this one.
func TestSocketsOfEqualWordsAreToldApart(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		got, err := swapped(network, freeAddress(), setting(), setting(onDevice("lo")))
		if err != nil || !slices.Equal(got, wantSwapped) {
			t.Errorf("%s: got the sockets %v, want %v: %v", network, got, wantSwapped, err)
		}
	}
}

func TestSocketOfAnotherDeviceIsNotTakenOver(t *testing.T) {
	plain := Ask{Network: "tcp", Address: freeAddress(), Config: setting()}
	bound := plain
	bound.Config = setting(onDevice("lo"))
	for _, asks := range [][]Ask{{plain, bound}, {bound, plain}} {
		got, err := generations(asks[:1], asks[1:])
		if err != nil || !slices.Equal(got, []int{-1}) {
			t.Errorf("got %v, %v; want a new socket", got, err)
		}
	}
}

// Without what it takes to compare, no socket is taken by chance. A name decides.
func TestAmbiguousSocketsNeedNames(t *testing.T) {
	errDropped := errors.New("the privilege was dropped")
	dropped := setting(func(int) error { return errDropped })
	a := Ask{Network: "tcp", Address: freeAddress(), Config: setting()}
	b := a
	b.Config = setting(onDevice("lo"))
	unknown := a
	unknown.Config = dropped
	_, err := generations([]Ask{a, b}, []Ask{unknown})
	if !errors.Is(err, ErrAmbiguous) {
		t.Fatalf("got %v, want ErrAmbiguous", err)
	}
	for _, says := range []string{"device lo", errDropped.Error(), "WithName", a.Address} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	a.Name, b.Name = "all", "lo"
	askA, askB := a, b
	askA.Config, askB.Config = dropped, dropped
	got, err := generations([]Ask{a, b}, []Ask{askB, askA})
	if err != nil || !slices.Equal(got, wantSwapped) {
		t.Errorf("with names: got %v, %v", got, err)
	}
}

// A socket alone needs no name, although its Control can no longer do what it did as root.
func TestUniqueSocketNeedsNoPrivilege(t *testing.T) {
	a := Ask{Network: "tcp", Address: freeAddress(), Config: setting(onDevice("lo"))}
	b := a
	b.Config = setting(func(int) error { return unix.EPERM })
	got, err := generations([]Ask{a}, []Ask{b})
	if err != nil || !slices.Equal(got, []int{0}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// inNamespaces runs a helper as root of user and network namespaces of its own.
func inNamespaces(t *testing.T, name string) map[string]string {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env, cmd.Stdout, cmd.Stderr = helpertest.Use(name), w, os.Stderr
	helpertest.InNamespaces(t, cmd, syscall.CLONE_NEWNET)
	must(t, cmd.Start())
	must(t, w.Close())
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	results := map[string]string{}
	err = json.NewDecoder(r).Decode(&results)
	if waitErr := cmd.Wait(); err != nil || waitErr != nil {
		t.Fatal(waitErr, err)
	}
	return results
}

// What only root can do is done as root of a user namespace.
func TestPrivilegedSocketsOfEqualWords(t *testing.T) {
	results := inNamespaces(t, "traits")
	if len(results) == 0 {
		t.Error("nothing was tried")
	}
	for what, result := range results {
		if result != "" {
			t.Errorf("%s: %s", what, result)
		}
	}
}

func init() { helpertest.Register("traits", traitsHelper) }

func traitsHelper() error {
	if err := bringUp("lo"); err != nil {
		return err
	}
	results := map[string]string{}
	try := func(what string, want []int, got []int, err error) {
		results[what] = ""
		if err != nil || !slices.Equal(got, want) {
			results[what] = fmt.Sprintf("got the sockets %v, want %v: %v", got, want, err)
		}
	}
	mark := func(n int) net.ListenConfig {
		return setting(intOption(unix.SOL_SOCKET, unix.SO_MARK, n))
	}
	got, err := swapped("tcp", "127.0.0.1:80", mark(1), mark(2))
	try("mark", wantSwapped, got, err)
	transparent := setting(intOption(unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1))
	got, err = swapped("tcp", ":80", setting(), transparent)
	try("transparent", wantSwapped, got, err)
	got, err = swapped("tcp", "[::]:80", setting(),
		setting(intOption(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)))
	try("IPv6 only", wantSwapped, got, err)
	got, err = swappedNamespaces()
	try("network namespace", wantSwapped, got, err)
	got, err = inAnotherNamespace()
	try("another network namespace", []int{-1}, got, err)
	got, err = afterDevice("gr0")
	try("device made again", []int{-1}, got, err)
	return json.NewEncoder(os.Stdout).Encode(results)
}

// swappedNamespaces opens a port in two network namespaces.
func swappedNamespaces() ([]int, error) {
	runtime.LockOSThread() // and never unlocked: the thread is no longer like the others
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer here.Close()
	s := New()
	defer s.Close()
	ask := Ask{Network: "tcp", Address: ":81"}
	first, err := s.Open(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	second, err := s.Open(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	next, err := successorOf(s)
	if err != nil {
		return nil, err
	}
	defer next.Close()
	cookies := []uint64{cookieOf(first), cookieOf(second)}
	there, err := next.Open(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	back, err := next.Open(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	return []int{slices.Index(cookies, cookieOf(there)), slices.Index(cookies, cookieOf(back))}, nil
}

// inAnotherNamespace opens a port and asks for it from another network namespace. The calling
// thread stays there.
func inAnotherNamespace() ([]int, error) {
	ask := Ask{Network: "tcp", Address: ":83"}
	s := New()
	defer s.Close()
	sock, err := s.Open(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	next, err := successorOf(s)
	if err != nil {
		return nil, err
	}
	defer next.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	other, err := next.Open(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	return []int{slices.Index([]uint64{cookieOf(sock)}, cookieOf(other))}, nil
}

// afterDevice opens a socket on a device, and asks for it when the device was deleted and made
// again.
func afterDevice(name string) ([]int, error) {
	if err := bridge(unix.SIOCBRADDBR, name); err != nil {
		return nil, err
	}
	again := false
	ask := Ask{Network: "tcp", Address: ":82"}
	ask.Config = setting(onDevice(name))
	next := ask
	next.Config = setting(func(fd int) error {
		var err error
		if !again {
			again = true
			err = errors.Join(bridge(unix.SIOCBRDELBR, name), bridge(unix.SIOCBRADDBR, name))
		}
		return errors.Join(err, onDevice(name)(fd))
	})
	return generations([]Ask{ask}, []Ask{next})
}

// bridge makes or deletes a bridge, the device that takes the fewest calls.
func bridge(request uintptr, name string) error {
	b := append([]byte(name), make([]byte, unix.IFNAMSIZ)...)
	return ioctl(request, unsafe.Pointer(&b[0]))
}

func bringUp(name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return ioctl(unix.SIOCSIFFLAGS, unsafe.Pointer(ifr))
}

func ioctl(request uintptr, arg unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return fmt.Errorf("ioctl %s: %w", strconv.FormatUint(uint64(request), 16), errno)
	}
	return nil
}
