package signals

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/test/helpertest"
)

func init() {
	helpertest.Register("defaults", defaultsHelper)
	helpertest.Register("release", releaseHelper)
	helpertest.Register("uncaught", uncaughtHelper)
	helpertest.Register("terminal", terminalHelper)
	helpertest.Register("leader", leaderHelper)
}

func TestMain(m *testing.M) { helpertest.Main(m, func() error { return goleak.Find() }) }

// patience is how long a helper waits for what will happen.
const patience = 30 * time.Second

var errLate = errors.New("nothing has come")

// receive waits for a signal.
func receive(c <-chan os.Signal) (os.Signal, error) {
	select {
	case sig := <-c:
		return sig, nil
	case <-time.After(patience):
		return nil, errLate
	}
}

// pending waits until a signal is kept in a channel.
func pending(c chan os.Signal) error {
	for deadline := time.Now().Add(patience); len(c) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errLate
		}
	}
	return nil
}

// helper is this binary as a helper, started by a shell command that ends in the placeholder.
func helper(t *testing.T, name, shell string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", shell + `exec "$0" "$@"`, self}, args...)...)
	cmd.Env = append(os.Environ(), helpertest.Use(name)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// defaultsHelper prints which of the usual signals it would claim.
func defaultsHelper() error {
	_, err := fmt.Println(Defaults([]os.Signal{syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGTERM, os.Interrupt}))
	return err
}

func TestIgnoredSignalsAreLeftIgnored(t *testing.T) {
	for shell, want := range map[string]string{
		"":                 "[hangup user defined signal 2 terminated interrupt]",
		"trap '' HUP; ":    "[user defined signal 2 terminated interrupt]",
		"trap '' INT; ":    "[hangup user defined signal 2 terminated]",
		"trap '' USR1; ":   "[hangup user defined signal 2 terminated interrupt]",
		"trap '' HUP INT;": "[user defined signal 2 terminated]",
	} {
		got, err := helper(t, "defaults", shell).Output()
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("after %q it claims %s and not %s (%v)", shell, got, want, err)
		}
	}
}

// releaseHelper claims signals, sends itself one of each kind, and releases them.
func releaseHelper() error {
	s := Claim([]os.Signal{syscall.SIGHUP}, []os.Signal{syscall.SIGTERM})
	send := func(sig syscall.Signal, kept chan os.Signal) error {
		return errors.Join(unix.Kill(os.Getpid(), sig), pending(kept))
	}
	err := errors.Join(send(syscall.SIGHUP, s.Upgrade), send(syscall.SIGTERM, s.Shutdown))
	if err != nil {
		return err
	}
	own := make(chan os.Signal, 4)
	signal.Notify(own, syscall.SIGHUP, syscall.SIGTERM)
	if got := s.Release(); !slices.Equal(got, []os.Signal{syscall.SIGHUP, syscall.SIGTERM}) {
		return fmt.Errorf("released %v", got)
	}
	first, err := receive(own)
	second, err2 := receive(own)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if first == second || s.Release() != nil {
		return fmt.Errorf("came again: %v, %v", first, second)
	}
	return claimAgain(s, own)
}

// claimAgain has the signals claimed by who listens.
func claimAgain(s *Signals, own chan os.Signal) error {
	signal.Stop(own)
	s.Listen()
	for range 2 {
		if err := unix.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-s.Shutdown:
		case <-s.Forced:
			s.Discard()
			return nil
		case <-time.After(patience):
			return errLate
		}
	}
	return errors.New("the second signal has forced nothing")
}

func TestReleasedSignalsComeAgain(t *testing.T) {
	if err := helper(t, "release", "").Run(); err != nil {
		t.Error(err)
	}
}

// uncaughtHelper claims a signal, sends it to itself, and releases it.
func uncaughtHelper() error {
	sig := syscall.SIGHUP
	s := Claim([]os.Signal{syscall.SIGHUP}, []os.Signal{syscall.SIGTERM})
	kept := s.Upgrade
	if os.Args[1] == "shutdown" {
		sig, kept = syscall.SIGTERM, s.Shutdown
	}
	if err := errors.Join(unix.Kill(os.Getpid(), sig), pending(kept)); err != nil {
		return err
	}
	s.Release()
	time.Sleep(patience) // the signal ends this process before
	return errors.New("the signal has had no effect")
}

// Of two signals at once, either may end a process: each has a process of its own.
func TestReleasedSignalHasItsDefaultAction(t *testing.T) {
	for which, want := range map[string]syscall.Signal{
		"upgrade": syscall.SIGHUP, "shutdown": syscall.SIGTERM,
	} {
		var exit *exec.ExitError
		err := helper(t, "uncaught", "", which).Run()
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != want {
			t.Errorf("after the release of a signal for %s: %v", which, err)
		}
	}
}

// terminalHelper prints for each SIGHUP whether it was the terminal's.
func terminalHelper() error {
	s := Claim([]os.Signal{syscall.SIGHUP}, nil)
	defer s.Discard()
	fmt.Println("claimed")
	for range 3 {
		sig, err := receive(s.Upgrade)
		if err != nil {
			return err
		}
		fmt.Println("hangup:", s.Hangup(sig))
	}
	return nil
}

// leaderHelper leads a session, starts a terminalHelper in the foreground, and exits at the end of
// its standard input.
func leaderHelper() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helpertest.Env+"=terminal")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	_, err = io.Copy(io.Discard, os.NewFile(3, "until the end"))
	return err
}

// terminalOf opens a pseudo-terminal for a test.
func terminalOf(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil && os.Getenv("GRACE_REQUIRE_TERMINAL") == "" {
		t.Skipf("this machine has no pseudo-terminals: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// The kernel's SIGHUP at the end of a terminal is told from those that somebody sends before and after.
func TestSIGHUPOfATerminal(t *testing.T) {
	cmd := helper(t, "terminal", "")
	master, slave := terminalOf(t)
	cmd.Stdin = slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the process said %q and not %q", lines.Text(), want)
		}
	}
	expect("claimed")
	_ = cmd.Process.Signal(syscall.SIGHUP)
	expect("hangup: 0")
	master.Close()
	expect("hangup: 1")
	_ = cmd.Process.Signal(syscall.SIGHUP)
	expect("hangup: 0")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// When the leader of a session exits, as the first generation of a service in a terminal does after
// an upgrade, the kernel sends SIGHUP to its successor.
func TestSIGHUPAtTheEndOfALeader(t *testing.T) {
	cmd := helper(t, "leader", "")
	master, slave := terminalOf(t)
	defer master.Close()
	until, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.ExtraFiles = slave, []*os.File{until}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	until.Close()
	w.Close()
	lines := bufio.NewScanner(r)
	var pid int
	for claimed := false; !claimed || pid == 0; { // in either order
		if !lines.Scan() {
			t.Fatal("the processes say nothing")
		}
		if lines.Text() == "claimed" {
			claimed = true
		} else if pid, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the process said %q and not %q", lines.Text(), want)
		}
	}
	_ = unix.Kill(pid, unix.SIGHUP)
	expect("hangup: 0")
	hold.Close() // the leader exits
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	expect("hangup: 2")
	_ = unix.Kill(pid, unix.SIGHUP)
	expect("hangup: 0")
	if lines.Scan() {
		t.Errorf("the process also said %q", lines.Text())
	}
}
