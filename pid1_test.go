//go:build linux

package grace

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/helpertest"
)

// initMain is PID 1 of a container. It starts the service and exits with it, as tini does; with Overrule it stays until no
// process is left.
func initMain(c config) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envMain+"=lines")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	for c.Overrule {
		if _, waitErr := unix.Wait4(-1, nil, 0, nil); errors.Is(waitErr, unix.ECHILD) {
			break
		}
	}
	return err
}

// inPIDNamespace starts a command as PID 1 of a namespace, which ends with the test, and connects to the service.
func inPIDNamespace(t *testing.T, cmd *exec.Cmd) *client {
	t.Helper()
	helpertest.InNamespaces(t, cmd, syscall.CLONE_NEWPID)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return dialFirstSocket(t, bufio.NewScanner(out))
}

// viaShell has a shell that waits for it start the command.
func viaShell(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `"$0"; exit $?`, self}
	return cmd
}

// Where the end of this process ends its container, and with it the successor, an upgrade is refused and says why.
func TestUpgradeThatWouldEndTheContainer(t *testing.T) {
	for what, tt := range map[string]struct {
		cmd  *exec.Cmd
		says string
	}{
		"PID 1":        {command("lines", tcpOnly), "this process is PID 1"},
		"a small init": {command("init", tcpOnly), " (PID 1) would exit with it"},
		"a shell":      {viaShell(t, command("lines", tcpOnly)), "sh (PID 1) would exit with it"},
	} {
		t.Run(what, func(t *testing.T) {
			c := inPIDNamespace(t, tt.cmd)
			defer c.Close()
			answer, err := c.ask("upgrade")
			if err != nil || !strings.Contains(answer, tt.says) ||
				!strings.Contains(answer, errors.ErrUnsupported.Error()) {
				t.Errorf("Upgrade returned %q, %v; want %q", answer, err, tt.says)
			}
			if answer, err := c.ask("who"); err != nil || !strings.HasPrefix(answer, "who 1 ") {
				t.Errorf("after that the service says %q, %v", answer, err)
			}
		})
	}
}

// Where PID 1 stays, the option lets the service upgrade.
func TestUpgradeWithoutContainerCheck(t *testing.T) {
	config := tcpOnly
	config.Overrule = true
	old := inPIDNamespace(t, command("init", config))
	addr := old.RemoteAddr()
	var answer string
	helpertest.Eventually(t, "the service is ready", func() (ready bool) {
		var err error
		answer, err = old.ask("upgrade")
		return err != nil || !strings.Contains(answer, ErrNotReady.Error())
	})
	if answer != "upgraded" {
		t.Fatalf("Upgrade returned %q", answer)
	}
	old.Close()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(conn)
	defer c.Close()
	if answer, err := c.ask("who"); err != nil || !strings.HasPrefix(answer, "who 2 ") {
		t.Errorf("the new process says %q, %v", answer, err)
	}
}

// dialFirstSocket connects to the socket of which the service says that it is open.
func dialFirstSocket(t *testing.T, events *bufio.Scanner) *client {
	t.Helper()
	for events.Scan() {
		var p printed
		if err := json.Unmarshal(events.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if p.Event != "SocketOpened" {
			continue
		}
		addr, _, _ := strings.Cut(strings.TrimPrefix(p.Detail, "socket="), " ")
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return newClient(conn)
	}
	t.Fatal("the service has opened no socket")
	return nil
}

// A process that systemd itself has started warns at its start, before the outage, if nobody will tell systemd of its successor.
func TestSystemdThatLearnsOfNoSuccessor(t *testing.T) {
	for what, tt := range map[string]struct {
		pid    int
		opts   []Option
		warned bool
	}{
		"no PID file":     {os.Getpid(), nil, true},
		"a PID file":      {os.Getpid(), []Option{WithPIDFile(t.TempDir() + "/pid")}, false},
		"not its process": {os.Getppid(), nil, false},
	} {
		t.Setenv("SYSTEMD_EXEC_PID", strconv.Itoa(tt.pid))
		var events recorder
		newTestManager(t, append(tt.opts, WithObserver(&events))...)
		if warned := len(find[graceevent.SupervisorUntold](&events)) == 1; warned != tt.warned {
			t.Errorf("%s: the process has warned: %t", what, warned)
		}
	}
}
