//go:build linux

package grace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/servicetest"
)

// manyAddress is the address of the further listeners of a config: other ports than those of tests beside this one.
const manyAddress = "127.0.0.3:0"

// limitsMain is the service of linesMain, as a user of its own if that is needed for a limit to count, and with ways to
// misbehave that are about limits.
func limitsMain(c config) error {
	if err := becomeUser(c.User); err != nil {
		return err
	}
	switch command, arg, _ := strings.Cut(c.mode(), " "); command {
	case "nofile":
		if err := limitFiles(arg, true); err != nil {
			return err
		}
	case "stop-after":
		return stopAfter(arg)
	}
	if c.Count > 0 { // so many sockets are passed only on to a process with the limit for them
		if err := setFileLimit(math.MaxInt, false); err != nil {
			return err
		}
	}
	for i := range c.Count {
		e := endpoint{Network: "tcp", Address: manyAddress}
		if c.LongNames {
			e.Name = fmt.Sprintf("%0255d", i)
		}
		c.Listen = append(c.Listen, e)
	}
	return linesMain(c)
}

// becomeUser leaves the privileges behind: some limits do not count for root. 0 changes nothing.
func becomeUser(uid int) error {
	if uid == 0 || os.Getuid() == uid {
		return nil
	}
	return errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid))
}

// limitCommand obeys the lines that are about limits.
func (s *lineServer) limitCommand(command, arg string) (answer string, ok bool) {
	switch command {
	case "try":
		return toJSON(s.try(arg)), true
	case "nofile":
		return fmt.Sprint(limitFiles(arg, false)), true
	case "listen-at-limit":
		return s.listenAtLimit(), true
	case "nproc":
		return fmt.Sprint(limitProcesses(arg)), true
	case "ulimit":
		return childLimit(), true
	case "sockets":
		return toJSON(s.countSockets()), true
	case "stop-in-drain":
		s.m.Append(Hook{OnDrain: func(context.Context) error { return unix.Kill(os.Getpid(), unix.SIGSTOP) }})
		return "<nil>", true
	}
	return "", false
}

// tried is what has come of an Upgrade.
type tried struct {
	Upgraded bool
	Step     Step
	PID      int
	State    string
	Errno    syscall.Errno // that the error matches
	TimedOut bool          // it matches ErrTimeout
	Text     string
}

// try upgrades, and cancels it when the successor is stopped, if it is told to.
func (s *lineServer) try(arg string) tried {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if arg == "stopped" {
		go func() { // ends with ctx
			for ctx.Err() == nil && !hasStoppedChild() {
				time.Sleep(time.Millisecond)
			}
			cancel(errTestCancels)
		}()
	}
	err := s.m.Upgrade(ctx)
	if err == nil {
		return tried{Upgraded: true}
	}
	result := tried{Text: err.Error(), TimedOut: errors.Is(err, ErrTimeout)}
	result.Errno, _ = errors.AsType[syscall.Errno](err)
	if failed, ok := errors.AsType[*UpgradeError](err); ok {
		result.Step, result.PID, result.State = failed.Step, failed.PID, failed.State
	}
	return result
}

// limitFiles lowers the soft limit on descriptors so far that the given number of them can still be opened; for good if hard.
// With "max" it raises it as far as it goes.
func limitFiles(arg string, hard bool) error {
	if arg == "max" {
		return setFileLimit(math.MaxInt, hard)
	}
	free, err := strconv.Atoi(arg)
	if err != nil {
		return err
	}
	return setFileLimit(numberBeyond(free), hard)
}

func setFileLimit(n int, hard bool) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = min(uint64(n), limit.Max)
	if hard {
		limit.Max = limit.Cur
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// listenAtLimit opens a listener, and sets the limit so that its descriptor is the last one that is allowed; there are free
// ones below it.
func (s *lineServer) listenAtLimit() string {
	for range 50 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err.Error()
		}
		defer f.Close()
	}
	ln, err := s.m.ListenTCP(context.Background(), "tcp", nil)
	if err != nil {
		return err.Error()
	}
	raw, err := ln.SyscallConn()
	if err != nil {
		return err.Error()
	}
	var limit error
	err = raw.Control(func(fd uintptr) { limit = setFileLimit(int(fd)+1, false) })
	return fmt.Sprint(errors.Join(err, limit))
}

// countSockets counts those that are open, and those of them that came from the old process.
func (s *lineServer) countSockets() (n struct{ Sockets, Inherited int }) {
	for _, sock := range s.m.Status().Sockets {
		n.Sockets++
		if sock.Inherited {
			n.Inherited++
		}
	}
	return n
}

// numberBeyond returns the limit below which so many numbers are free.
func numberBeyond(free int) int {
	fd := 0
	for ; ; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			continue
		}
		if free == 0 {
			return fd
		}
		free--
	}
}

// limitProcesses sets the soft limit on the processes and threads of this user, or raises it as far as it goes. With a "+" it
// is that many more than this process has.
func limitProcesses(arg string) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if arg != "max" {
		n, err := strconv.Atoi(arg)
		if err := errors.Join(err, haveThreads(12)); err != nil {
			return err
		}
		if strings.HasPrefix(arg, "+") {
			threads, _ := os.ReadDir("/proc/self/task")
			n += len(threads)
		}
		limit.Cur = uint64(n)
	}
	return unix.Setrlimit(unix.RLIMIT_NPROC, &limit)
}

// haveThreads returns the process idle threads, as one that has been busy has them. The runtime ends a process that gets no
// thread when it needs one, whatever it is doing.
func haveThreads(n int) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	blocking := int(r.Fd()) // the poller would need no threads
	var reading, done sync.WaitGroup
	reading.Add(n)
	for range n {
		done.Go(func() { // ends with the pipe
			reading.Done()
			_, _ = unix.Read(blocking, make([]byte, 1))
		})
	}
	reading.Wait()
	err = w.Close()
	done.Wait()
	return err
}

// childLimit is the soft limit on descriptors that a program gets from this one.
func childLimit() string {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Sn").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// fileLimits are the limits on descriptors of a process.
func fileLimits(t testing.TB, pid int) (soft, hard int) {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(limits), "Max open files")
	if _, err := fmt.Sscan(line, &soft, &hard); err != nil {
		t.Fatal(err)
	}
	return soft, hard
}

// observe prints what happens, but for the sockets of which there are many.
func (c config) observe(_ context.Context, r graceevent.Record) {
	if e, ok := r.Event.(graceevent.SocketOpened); ok && e.Address == manyAddress {
		return
	}
	printRecord(r)
}

// tryOver sends a command over a connection that is there already: at a limit, none can be accepted.
func tryOver(t *testing.T, c *client, command string) (got tried) {
	t.Helper()
	decode(t, obey(t, c, command), &got)
	return got
}

func obey(t *testing.T, c *client, command string) string {
	t.Helper()
	answer, err := c.ask(command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return answer
}

// nilAnswer has the service do something that must work.
func nilAnswer(t *testing.T, c *client, command string) {
	t.Helper()
	if got := obey(t, c, command); got != "<nil>" {
		t.Fatalf("%s: %s", command, got)
	}
}

// At whichever descriptor the limit is reached, the error says so and nothing is left behind.
func TestDescriptorLimitOfTheOldProcess(t *testing.T) {
	s := start(t, "limits", tcpOnly)
	_, pid := s.serving()
	c := s.dial()
	defer c.Close()
	obey(t, c, "census")
	before := heldCensus(t, c)
	free, upgraded := 0, false
	for ; !upgraded && free < 20; free++ {
		nilAnswer(t, c, fmt.Sprint("nofile ", free))
		got := tryOver(t, c, "try")
		if upgraded = got.Upgraded; upgraded {
			break
		}
		if got.Step != StepStart || got.Errno != syscall.EMFILE || got.PID != 0 || !strings.Contains(got.Text, "RLIMIT_NOFILE") {
			t.Errorf("with %d free descriptors Upgrade returned %+v", free, got)
		}
		nilAnswer(t, c, "nofile max")
		noneMore(t, before, heldCensus(t, c))
		if _, now := s.serving(); now != pid {
			t.Fatalf("process %d serves and not %d", now, pid)
		}
		sameCensus(t, before, func() census { return heldCensus(t, c) }) // no connection is about to be closed
	}
	if !upgraded || free < 3 {
		t.Errorf("with %d free descriptors the upgrade has succeeded: %v", free, upgraded)
	}
	s.Await("the successor to be ready", func(p printed) bool { return p.Event == "ReadyFinished" && p.Generation == 2 && p.Err == "" })
	s.upgrade()
	s.checkLimit()
}

// noneMore looks for new descriptors at once: the garbage collector would close some of them in time.
func noneMore(t *testing.T, before, after census) {
	t.Helper()
	for _, d := range after.Descriptors {
		if !slices.Contains(before.Descriptors, d) {
			t.Errorf("left open: %s", d)
		}
	}
}

// checkLimit checks that whoever serves has a soft limit that Go has raised, all or nearly as far as it goes.
func (s *service) checkLimit() {
	s.t.Helper()
	_, pid := s.serving()
	if soft, hard := fileLimits(s.t, pid); soft < hard-1 {
		s.t.Errorf("the limit of process %d is %d, and could be %d", pid, soft, hard)
	}
}

// There are free numbers, and yet none above a listener that was opened late: package syscall needs them for a moment.
func TestDescriptorLimitBelowWhatStartingNeeds(t *testing.T) {
	s := start(t, "limits", tcpOnly)
	c := s.dial()
	defer c.Close()
	nilAnswer(t, c, "listen-at-limit")
	if got := tryOver(t, c, "try"); got.Step != StepStart || got.Errno != syscall.EMFILE || !strings.Contains(got.Text, "RLIMIT_NOFILE") {
		t.Errorf("Upgrade returned %+v", got)
	}
	nilAnswer(t, c, "nofile max")
	s.upgrade()
}

func TestDescriptorLimitOfTheSuccessor(t *testing.T) {
	s := start(t, "limits", tcpOnly)
	_, pid := s.serving()
	c := s.dial()
	defer c.Close()
	obey(t, c, "census")
	before := heldCensus(t, c)
	free, upgraded := 0, false
	for ; free < 20; free++ {
		s.misbehave(fmt.Sprint("nofile ", free))
		got := tryOver(t, c, "try")
		if upgraded = got.Upgraded; upgraded {
			break
		}
		if got.Step != StepReady || got.PID == 0 || got.State == "" {
			t.Errorf("with %d free descriptors in the successor Upgrade returned %+v", free, got)
		}
		if _, now := s.serving(); now != pid {
			t.Fatalf("process %d serves and not %d", now, pid)
		}
		sameCensus(t, before, func() census { return heldCensus(t, c) }) // no connection is about to be closed
	}
	if !upgraded || free == 0 {
		t.Errorf("with %d free descriptors in the successor the upgrade has succeeded: %v", free, upgraded)
	}
}

// Go raises the soft limit of its own processes. What they start gets the limit that they were started with, in every
// generation.
func TestSoftLimitIsHandedOn(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := tcpOnly
	c.Start, c.Args = "/bin/sh", []string{"-c", `ulimit -Sn 300 && exec "$0"`, exe}
	s := start(t, "limits", c)
	for generation := 1; generation <= 3; generation++ {
		if got := s.ask("ulimit"); got != "300" {
			t.Errorf("what generation %d starts has the soft limit %s, and not 300", generation, got)
		}
		s.checkLimit()
		s.upgrade()
	}
}

// unprivileged is a service whose user has no other processes and is not root, for whom the limit on processes does not count.
func unprivileged(t *testing.T, c config) config {
	t.Helper()
	dir, err := os.MkdirTemp("", "grace") // that of t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.Start = filepath.Join(dir, "service")
	c.ModeFile = filepath.Join(dir, "mode")
	if err := errors.Join(os.Chmod(dir, 0o755), copyExecutable(c.Start)); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		c.User = 20000 + os.Getpid()%40000
	}
	return c
}

func copyExecutable(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func TestProcessLimit(t *testing.T) {
	s := start(t, "limits", unprivileged(t, tcpOnly))
	_, pid := s.serving()
	c := s.dial()
	defer c.Close()
	obey(t, c, "census")
	before := heldCensus(t, c)
	nilAnswer(t, c, "nproc 1") // it has more threads already
	got := tryOver(t, c, "try")
	if got.Step != StepStart || got.Errno != syscall.EAGAIN || got.PID != 0 || !strings.Contains(got.Text, "RLIMIT_NPROC") {
		t.Errorf("Upgrade returned %+v", got)
	}
	nilAnswer(t, c, "nproc max")
	sameCensus(t, before, func() census { return heldCensus(t, c) })
	if _, now := s.serving(); now != pid {
		t.Fatalf("process %d serves and not %d", now, pid)
	}
	s.upgrade()
}

// A successor that can be started, and then gets no threads, is one that crashes.
func TestProcessLimitOfTheSuccessor(t *testing.T) {
	s := start(t, "limits", unprivileged(t, tcpOnly))
	for more := 1; more < 40; more++ {
		_, pid := s.serving()
		c := s.dial()
		nilAnswer(t, c, fmt.Sprintf("nproc +%d", more))
		got := tryOver(t, c, "try")
		_, err := c.ask("nproc max")
		c.Close()
		if got.Upgraded {
			return
		}
		if err != nil || got.Step == "" || got.PID != 0 && got.State == "" {
			t.Errorf("with %d more threads Upgrade returned %+v, and then %v", more, got, err)
		}
		if _, now := s.serving(); now != pid {
			t.Fatalf("process %d serves and not %d", now, pid)
		}
	}
	if os.Getuid() == 0 { // else other processes of this user count too, however many there are
		t.Error("no upgrade has succeeded")
	}
	s.upgrade()
}

// What is passed to a process in arguments and environment is bounded by the kernel: one string, and all together.
func TestEnvironmentThatIsTooLong(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"one":  {[]string{"SMALL=1", "BIG=" + strings.Repeat("x", 150_000)}, `the variable "BIG" has 150004 of them`},
		"all":  {manyVariables(100_000), "have 7"},
		"name": {[]string{strings.Repeat("x", 150_000)}, `xxx" has 150000 of them`},
	} {
		t.Run(name, func(t *testing.T) {
			env := append(c.env, servicetest.Env(config{}), envMain+"=helper") // were it started, it must not run the tests
			m := newTestManager(t, WithEnv(func(context.Context, []string) ([]string, error) { return env, nil }))
			ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := takeCensus()
			err = m.Upgrade(t.Context())
			var failed *UpgradeError
			if !errors.Is(err, syscall.E2BIG) || !errors.As(err, &failed) || failed.Step != StepStart || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Upgrade returned %.1000v", err)
			}
			sameCensus(t, before, takeCensus)
			answers(t, ln)
		})
	}
}

// manyVariables has 70 bytes in each.
func manyVariables(n int) (env []string) {
	for i := range n {
		env = append(env, fmt.Sprintf("V%05d=%062d", i, 0))
	}
	return env
}

// answers checks that a listener accepts.
func answers(t *testing.T, ln net.Listener) {
	t.Helper()
	out, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
}

// The names of so many sockets do not fit into one variable. They go another way.
func TestThousandsOfLongNames(t *testing.T) {
	c := tcpOnly
	c.Count, c.LongNames = 1000, true
	s := start(t, "limits", c)
	s.upgrade()
	s.checkSockets(1001)
}

// checkSockets counts the sockets of whoever serves, and expects that a successor was given all of them.
func (s *service) checkSockets(n int) {
	s.t.Helper()
	var status struct{ Sockets, Inherited int }
	decode(s.t, s.ask("sockets"), &status)
	if status.Sockets != n || status.Inherited != n {
		s.t.Errorf("of %d sockets the successor has %d, and %d were inherited", n, status.Sockets, status.Inherited)
	}
}

func TestTenThousandListeners(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	c := tcpOnly
	c.Count = 10_000
	if limit.Max < 10_100 {
		skip := t.Skipf
		if os.Getenv("GRACE_REQUIRE_NAMESPACES") != "" { // root can raise it
			skip = t.Fatalf
		}
		skip("%d listeners need as many descriptors, and the hard limit is %d: raise it (ulimit -Hn)", c.Count, limit.Max)
	}
	s := start(t, "limits", c)
	l := startLoad(s)
	s.upgrade()
	s.checkSockets(c.Count + 1)
	l.end(t)
}
