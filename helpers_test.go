//go:build linux

package grace

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// envHelper tells a helper of a service what to do, as JSON.
const envHelper = "GRACE_TEST_HELPER"

// errand is what a helper is to do.
type errand struct {
	Way   string // in which it was started, for the report
	Code  int    // with which it exits
	Waits bool   // until its standard input ends
}

// helperReport is what a helper finds that it should not have.
type helperReport struct {
	Way   string
	Files []string
	Env   []string
}

// helperMain is a process that an application starts, and which has nothing to do with this package.
func helperMain(config) error {
	r := helperReport{Files: inheritedFiles()}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "LISTEN_") || strings.HasPrefix(e, "GRACE_LINK") {
			r.Env = append(r.Env, e)
		}
	}
	var e errand
	if err := json.Unmarshal([]byte(os.Getenv(envHelper)), &e); err != nil {
		return err
	}
	if e.Waits {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	r.Way = e.Way
	line, _ := json.Marshal(printed{Event: "Helper", Detail: toJSON(r)})
	_, _ = os.Stdout.Write(append(line, '\n'))
	os.Exit(e.Code)
	return nil
}

// inheritedFiles lists the descriptors beyond the standard streams that came from the parent: those that Go has opened since
// are all close-on-exec.
func inheritedFiles() (found []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if fd > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name())
			found = append(found, e.Name()+" is "+target)
		}
	}
	return found
}

// ways to start a helper, each of which waits for it and returns its exit code.
var ways = map[string]func(stdin *os.File, env []string) (int, error){
	"os/exec": func(stdin *os.File, env []string) (int, error) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, stdin, os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		_ = cmd.Wait() // the code says it
		return cmd.ProcessState.ExitCode(), nil
	},
	"os.StartProcess": func(stdin *os.File, env []string) (int, error) {
		p, err := os.StartProcess("/proc/self/exe", os.Args[:1], &os.ProcAttr{Env: env, Files: []*os.File{stdin, os.Stdout, os.Stderr}})
		if err != nil {
			return 0, err
		}
		state, err := p.Wait()
		if err != nil {
			return 0, err
		}
		return state.ExitCode(), nil
	},
	"syscall.ForkExec": func(stdin *os.File, env []string) (int, error) {
		pid, err := syscall.ForkExec("/proc/self/exe", os.Args[:1], &syscall.ProcAttr{Env: env, Files: []uintptr{stdin.Fd(), 1, 2}})
		if err != nil {
			return 0, err
		}
		var status syscall.WaitStatus
		for {
			_, err := syscall.Wait4(pid, &status, 0, nil)
			if err != syscall.EINTR {
				return status.ExitStatus(), err
			}
		}
	},
}

// help runs one helper, and says if the application does not get its own child's exit code.
func help(way string, stdin *os.File, e errand) {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, envMain+"=") })
	e.Way = way
	code, err := ways[way](stdin, append(env, envMain+"=helper", envHelper+"="+toJSON(e)))
	if err != nil || code != e.Code {
		line, _ := json.Marshal(printed{Event: "HelperLost", Err: fmt.Sprintf("%s: exit code %d instead of %d, %v", way, code, e.Code, err)})
		_, _ = os.Stdout.Write(append(line, '\n'))
	}
}

// runHelpers starts helpers all the time until the drain, and has one that ends in the middle of each upgrade.
func runHelpers(m *Manager) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for way := range ways {
		running.Go(func() {
			null, _ := os.Open(os.DevNull)
			defer null.Close()
			for code := 1; ; code = code%200 + 1 {
				select {
				case <-stop:
					return
				default:
					help(way, null, errand{Code: code})
				}
			}
		})
	}
	var release func()
	patient := func() { release = startPatient(&running) }
	patient()
	m.Append(Hook{
		OnUpgrade: func(context.Context) error { release(); patient(); return nil },
		OnDrain:   func(context.Context) error { close(stop); release(); running.Wait(); return nil },
	})
}

// startPatient starts a helper that ends when it is released.
func startPatient(running *sync.WaitGroup) (release func()) {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	running.Go(func() {
		help("os/exec", r, errand{Code: 77, Waits: true})
		r.Close()
	})
	return func() { w.Close() }
}

func TestHelpersInheritNothing(t *testing.T) {
	c := config{Helpers: true, Listen: []endpoint{
		{Network: "tcp", Address: "127.0.0.1:0", Name: "first"},
		{Network: "unix", Address: filepath.Join(t.TempDir(), "s")},
	}}
	t.Cleanup(reapOrphans) // when all generations are gone
	s := start(t, "lines", c)
	const upgrades = 20
	for i := range upgrades {
		switch i % 5 {
		case 1:
			s.failUpgrade("exit-after-listen", "exit status 4")
		case 2:
			s.failUpgrade("hang", "cancelled by the test")
		case 3:
			s.failUpgrade("hook-error", "the database is not there")
		}
		s.misbehave("")
		s.upgrade()
	}
	s.checkHelpers(upgrades)
}

// failUpgrade has a successor go wrong. If it hangs, the upgrade is cancelled.
func (s *service) failUpgrade(mode, want string) {
	s.t.Helper()
	s.misbehave(mode)
	var got string
	if mode == "hang" {
		got = s.cancelledAfter("ReadyStarted")
	} else {
		got = s.ask("upgrade")
	}
	if !strings.Contains(got, want) {
		s.t.Errorf("Upgrade returned %q, and not the cause %q", got, want)
	}
}

func (s *service) helperReports() (reports []helperReport) {
	for _, p := range s.Lines() {
		var r helperReport
		if p.Event == "Helper" && json.Unmarshal([]byte(p.Detail), &r) == nil {
			reports = append(reports, r)
		}
	}
	return reports
}

func (s *service) checkHelpers(atLeast int) {
	s.t.Helper()
	count := map[string]int{}
	for _, r := range s.helperReports() {
		count[r.Way]++
		if len(r.Files) > 0 || len(r.Env) > 0 {
			s.t.Errorf("a helper started by %s has inherited %q and %q", r.Way, r.Files, r.Env)
		}
	}
	for way := range ways {
		if count[way] < atLeast {
			s.t.Errorf("only %d helpers were started by %s", count[way], way)
		}
	}
	if lost := s.count(finished("HelperLost", 0)); lost > 0 {
		s.t.Errorf("the application did not learn how %d of its children ended", lost)
	}
}

// reapOrphans waits for what successors that were killed have left: it has become our children. No other test may run.
func reapOrphans() {
	for _, kid := range children() {
		pid, _ := strconv.Atoi(kid)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}

// The test above would find something.
func TestHelperReportsWhatItInherits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := command("helper", config{})
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = append(cmd.Env, envHelper+"="+toJSON(errand{Way: "os/exec"}), "LISTEN_FDNAMES=a", "GRACE_LINK=3")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var p printed
	var got helperReport
	decode(t, string(out), &p)
	decode(t, p.Detail, &got)
	if len(got.Files) != 1 || !strings.HasPrefix(got.Files[0], "3 is pipe:") || !slices.Equal(got.Env, []string{"LISTEN_FDNAMES=a", "GRACE_LINK=3"}) {
		t.Errorf("it reports %+v", got)
	}
}

func TestNoZombieIsLeftByUpgrades(t *testing.T) {
	s := start(t, "lines", tcpOnly)
	_, old := s.serving()
	none := func(after string) {
		t.Helper()
		if kids := childrenOf(old); len(kids) > 0 {
			t.Errorf("after %s the process has the children %v", after, kids)
		}
	}
	none("its start")
	s.failUpgrade("exit", "exit status 3")
	none("a successor that has exited")
	s.failUpgrade("hang", "signal: killed")
	none("a cancelled upgrade")
	s.failUpgrade("hook-error", "the database is not there")
	none("a successor that has said that it cannot serve")

	draining := s.dial() // keeps the old process
	defer draining.Close()
	s.misbehave("")
	s.upgrade()
	_, next := s.serving()
	if kids := childrenOf(old); len(kids) != 1 || !strings.HasPrefix(kids[0], strconv.Itoa(next)+" ") {
		t.Errorf("after an upgrade the process has the children %v, and not its successor %d", kids, next)
	}
	if err := unix.Kill(next, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.AwaitExit(next) // not by us: that it is gone means that its parent, which drains, has waited for it
	if _, err := draining.ask("who"); err != nil {
		t.Errorf("the old process: %v", err)
	}
	none("the end of a successor that served")
	draining.Close()
	s.AwaitExit(old)
}

// childrenOf lists the children of a process with their states, Z being a zombie.
func childrenOf(pid int) (kids []string) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range lists {
		list, _ := os.ReadFile(file)
		for kid := range strings.FieldsSeq(string(list)) {
			kids = append(kids, kid+" "+processState(kid))
		}
	}
	return kids
}

// processState is the letter of proc_pid_stat(5), or "" if there is no such process.
func processState(pid string) string {
	stat, _ := os.ReadFile("/proc/" + pid + "/stat")
	_, after, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(after, " ")
	return state
}
