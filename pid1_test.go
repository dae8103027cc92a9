//go:build linux

package grace

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// The end of PID 1 ends its container, and with it the successor: an upgrade is refused, and says why.
func TestPID1RefusesToUpgrade(t *testing.T) {
	cmd := command("lines", tcpOnly)
	helpertest.InNamespaces(t, cmd, syscall.CLONE_NEWPID)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	c := dialFirstSocket(t, bufio.NewScanner(out))
	defer c.Close()
	answer, err := c.ask("upgrade")
	if err != nil || !strings.Contains(answer, "PID 1") || !strings.Contains(answer, errors.ErrUnsupported.Error()) {
		t.Errorf("Upgrade returned %q, %v", answer, err)
	}
	if answer, err := c.ask("who"); err != nil || answer != "who 1 1" {
		t.Errorf("after that the service says %q, %v", answer, err)
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
