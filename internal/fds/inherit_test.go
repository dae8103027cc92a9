//go:build unix

package fds

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() { helpertest.Register("inherit", inheritHelper) }

// envOwn makes the helper first open a file of its own, which gets the lowest free number.
const envOwn = "FDS_TEST_OWN"

// inheritReport is what the helper "inherit" prints.
type inheritReport struct {
	Error         string
	IsEnvironment bool
	Own           int  // number of the helper's own file; -1 for none
	OwnOpen       bool // after Inherit
	// descriptors from First on that were passed to it and are still open, close-on-exec or not
	Passed      []int
	Inheritable []int // the ones that a child of it would get
	Nonblocking []int
	Variables   []string // that are still set
}

func inheritHelper() error {
	report := inheritReport{Own: -1}
	passed := inheritable()
	if os.Getenv(envOwn) != "" {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		report.Own = int(f.Fd())
		defer func() { _ = f.Close() }()
	}
	err := inheritEnvironment()
	if err != nil {
		report.Error, report.IsEnvironment = err.Error(), errors.Is(err, ErrEnvironment)
	}
	report.OwnOpen = report.Own >= 0 && helpertest.IsOpen(report.Own)
	report.look(passed)
	return json.NewEncoder(os.Stdout).Encode(report)
}

// inheritEnvironment inherits as a Manager does at its start.
func inheritEnvironment() error {
	announced, err := TakeAnnounced()
	if err != nil {
		Discard(announced)
		return err
	}
	_, err = Inherit(announced, nil)
	return err
}

func (r *inheritReport) look(passed []int) {
	for _, fd := range passed {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			continue
		}
		r.Passed = append(r.Passed, fd)
		if flags&unix.O_NONBLOCK != 0 {
			r.Nonblocking = append(r.Nonblocking, fd)
		}
	}
	r.Inheritable = inheritable()
	r.Variables = announcing()
}

// inheritable lists the descriptors from First on that a child would get. At the start of a process
// these are the passed ones.
func inheritable() []int {
	var list []int
	for fd := First; fd < 256; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil &&
			flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fd)
		}
	}
	return list
}

func runInherit(t *testing.T, env []string, files ...uintptr) inheritReport {
	t.Helper()
	var report inheritReport
	start{helper: "inherit", env: env, files: files}.run(t).result(t, &report)
	return report
}

// passable are descriptors to pass to a helper, good and bad ones.
type passable struct {
	listener, file, pipe, directory, connected, bound uintptr
}

func newPassable(t *testing.T) passable {
	t.Helper()
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	c, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return passable{
		listener:  uintptr(fdOf(t, ln)),
		connected: uintptr(fdOf(t, c)),
		pipe:      r.Fd(),
		bound:     uintptr(boundSocket(t)),
		file:      helpertest.OpenFile(t, os.Args[0]).Fd(),
		directory: helpertest.OpenFile(t, os.TempDir()).Fd(),
	}
}

// boundSocket returns a stream socket in blocking mode on which nobody has called listen(2).
func boundSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	unix.CloseOnExec(fd)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return fd
}

func TestInheritRefusesLies(t *testing.T) {
	p := newPassable(t)
	tests := []struct {
		what  string
		count int
		names string // "-" for none
		files []uintptr
		says  []string
	}{
		{"a file", 1, "-", []uintptr{p.file}, []string{"descriptor 3", "a file"}},
		{"a directory", 1, "-", []uintptr{p.directory}, []string{"descriptor 3", "a directory"}},
		{"a pipe", 1, "-", []uintptr{p.pipe}, []string{"descriptor 3", "a pipe"}},
		{"a connection", 1, "-", []uintptr{p.connected},
			[]string{"descriptor 3", "connected IPv4 stream socket 127.0.0.1:"}},
		{"a socket that does not listen", 1, "-", []uintptr{p.bound},
			[]string{"descriptor 3", "not listening IPv4 stream socket"}},
		{"a named one", 2, "http:admin", []uintptr{p.listener, p.file},
			[]string{"descriptor 4", `"admin"`, "a file"}},
		{"nothing", 1, "-", []uintptr{noFile},
			[]string{"LISTEN_FDS=1", "descriptor 3", "unset it if no service manager"}},
		{"fewer than counted", 3, "-", []uintptr{p.listener},
			[]string{"LISTEN_FDS=3 announces descriptors 3 to 5, but descriptor 4 "}},
		{"far fewer than counted", 10_000, "-", []uintptr{p.listener},
			[]string{"LISTEN_FDS=10000", "descriptor 4"}},
		{"a gap", 3, "-", []uintptr{p.listener, noFile, p.listener},
			[]string{"LISTEN_FDS=3", "descriptor 4"}},
		{"too few names", 2, "http", []uintptr{p.listener, p.listener},
			[]string{`LISTEN_FDNAMES="http"`, "1 names", "2 descriptors"}},
		{"too many names", 1, "http:admin", []uintptr{p.listener},
			[]string{`LISTEN_FDNAMES="http:admin"`}},
	}
	for _, tt := range tests {
		env := []string{envCount + "=" + strconv.Itoa(tt.count)}
		if tt.names != "-" {
			env = append(env, envNames+"="+tt.names)
		}
		t.Run(tt.what, func(t *testing.T) {
			checkRefusal(t, runInherit(t, env, tt.files...), tt.says)
		})
		t.Run(tt.what+", in a busy process", func(t *testing.T) {
			report := runInherit(t, append(env, envOwn+"=1"), tt.files...)
			checkRefusal(t, report, tt.says)
			if report.Own < First || !report.OwnOpen {
				t.Errorf("the process's own descriptor %d was closed", report.Own)
			}
		})
	}
}

// If the count cannot be read, no descriptor is taken.
func TestInheritRefusesBadCount(t *testing.T) {
	p := newPassable(t)
	for _, count := range []string{"", "many", "-1", strconv.Itoa(math.MaxInt)} {
		report := runInherit(t, []string{envCount + "=" + count}, p.listener)
		says := "LISTEN_FDS=" + strconv.Quote(count)
		if !report.IsEnvironment || !strings.Contains(report.Error, says) ||
			report.Variables != nil {
			t.Errorf("LISTEN_FDS=%s: got %+v; want ErrEnvironment, and no variable left",
				count, report)
		}
	}
}

func checkRefusal(t *testing.T, report inheritReport, says []string) {
	t.Helper()
	if !report.IsEnvironment {
		t.Fatalf("error %q does not match ErrEnvironment", report.Error)
	}
	for _, words := range says {
		if !strings.Contains(report.Error, words) {
			t.Errorf("error %q does not say %q", report.Error, words)
		}
	}
	if report.Inheritable != nil {
		t.Errorf("the passed descriptors %v are still open", report.Inheritable)
	}
	if report.Variables != nil {
		t.Errorf("variables %v are still set", report.Variables)
	}
}

func TestInherit(t *testing.T) {
	tcp, udp := listenOn(t, "tcp", "127.0.0.1:0"), listenPacketOn(t, "udp", "127.0.0.1:0")
	unixLn := listenOn(t, "unix", sockPath(t))
	blocking := boundSocket(t)
	must(t, unix.Listen(blocking, 1))
	files := []uintptr{
		uintptr(fdOf(t, tcp)), uintptr(fdOf(t, udp)), uintptr(blocking), uintptr(fdOf(t, unixLn)),
	}

	report := runInherit(t, []string{envCount + "=4"}, files...)

	if report.Error != "" || len(report.Passed) != 4 {
		t.Fatalf("error %q, and %v of 4 descriptors are open", report.Error, report.Passed)
	}
	if report.Inheritable != nil {
		t.Errorf("a child of the helper would get the descriptors %v", report.Inheritable)
	}
	// All processes that have a socket share its mode.
	if want := []int{3, 4, 6}; !slices.Equal(report.Nonblocking, want) {
		t.Errorf("descriptors %v are in non-blocking mode, want %v as they were passed",
			report.Nonblocking, want)
	}
	if !isNonblocking(t, fdOf(t, tcp)) || isNonblocking(t, blocking) {
		t.Error("the mode of this process's sockets was changed")
	}
}

// Descriptors that are announced to another process belong to that process.
func TestInheritLeavesWhatIsForAnother(t *testing.T) {
	p := newPassable(t)
	report := runInherit(t, []string{envCount + "=1", envPID + "=1"}, p.file)
	if report.Error != "" || !slices.Equal(report.Inheritable, []int{3}) ||
		len(report.Variables) != 2 {
		t.Errorf("got %+v; want no error, descriptor 3 left as it was, and both variables", report)
	}
}

// Only announced descriptors are taken: a descriptor after them was passed for another purpose.
func TestInheritLeavesWhatIsNotAnnounced(t *testing.T) {
	p := newPassable(t)
	report := runInherit(t, []string{envCount + "=1"}, p.listener, p.pipe)
	if report.Error != "" || !slices.Equal(report.Inheritable, []int{4}) {
		t.Errorf("got %+v; want no error, and descriptor 4 left as it was", report)
	}
	report = runInherit(t, []string{envCount + "=1"}, p.file, p.pipe)
	if !report.IsEnvironment || !slices.Equal(report.Inheritable, []int{4}) {
		t.Errorf("got %+v; want an error, and descriptor 4 left as it was", report)
	}
}

func init() { helpertest.Register("answer", answerHelper) }

// answerHelper inherits with the records of its parent, opens their sockets, and serves one client
// of each.
func answerHelper() error {
	var records []Record
	if err := json.Unmarshal([]byte(os.Getenv("FDS_TEST_RECORDS")), &records); err != nil {
		return err
	}
	announced, err := TakeAnnounced()
	if err != nil {
		return err
	}
	s, err := Inherit(announced, records)
	if err != nil {
		return json.NewEncoder(os.Stdout).Encode(err.Error())
	}
	served := make(chan error)
	for _, r := range records { // clients may come in any order
		go func() {
			served <- answer(s, Ask{Name: r.Name, Network: r.Network, Address: r.Address})
		}()
	}
	for range records {
		err = errors.Join(err, <-served)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode("")
}

func answer(s *Set, ask Ask) error {
	sock, err := s.Open(context.Background(), ask)
	if err != nil {
		return err
	}
	c, err := sock.Conn().(net.Listener).Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, "served as "+ask.Name)
	return errors.Join(err, c.Close())
}

// A successor gets the descriptors of Lend and their records. It then serves clients of the old
// process's addresses.
func TestLentSocketsServeInAnotherProcess(t *testing.T) {
	s := newSet(t)
	asks := []Ask{
		{Network: "tcp", Address: "127.0.0.1:0", Name: "a"},
		{Network: "tcp", Address: "127.0.0.1:0", Name: "b"},
		{Network: "unix", Address: sockPath(t), Name: "c"},
	}
	var socks []*Socket
	for _, ask := range asks {
		socks = append(socks, openAsk(t, s, ask))
	}
	l := borrow(t, s)
	described, err := json.Marshal(l.Records)
	must(t, err)
	env := append(Announce(l.Records), "FDS_TEST_RECORDS="+string(described))
	h := start{helper: "answer", env: env, files: l.FDs}.run(t)
	l.Release()
	for i, sock := range socks {
		if got := hear(t, sock.Addr()); got != "served as "+asks[i].Name {
			t.Errorf("client of %s got %q", sock.Addr(), got)
		}
	}
	var failure string
	if h.result(t, &failure); failure != "" {
		t.Error(failure)
	}
	s.TakeBack()
	if !exists(asks[2].Address) {
		t.Error("the successor removed the path of a socket that was only lent to it")
	}
}

// hear reads everything that a server sends.
func hear(t *testing.T, addr net.Addr) string {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	said, err := io.ReadAll(c)
	must(t, err)
	return string(said)
}

// A parent that describes another number of sockets than it passes is not trusted with either.
func TestInheritComparesRecordsWithCount(t *testing.T) {
	p := newPassable(t)
	var failure string
	env := []string{envCount + "=2", `FDS_TEST_RECORDS=[{"network":"tcp"}]`}
	h := start{helper: "answer", env: env, files: []uintptr{p.listener, p.listener}}.run(t)
	h.result(t, &failure)
	if !strings.Contains(failure, "LISTEN_FDS counts 2 descriptors, and the parent describes 1") {
		t.Errorf("got %q", failure)
	}
}
