package fds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/helpertest"
)

// In these tests the real systemd passes sockets. If it is not installed they are skipped, unless
// GRACE_REQUIRE_SYSTEMD is set.

func init() { helpertest.Register("activated", activatedHelper) }

const envAsks = "FDS_TEST_ASKS" // what the helper "activated" opens, as JSON

// activatedHelper opens the sockets of envAsks and tells one client of each which Ask opened it.
func activatedHelper() error {
	var asks []Ask
	if err := json.Unmarshal([]byte(os.Getenv(envAsks)), &asks); err != nil {
		return err
	}
	announced, err := TakeAnnounced()
	if err != nil {
		return err
	}
	s, err := Inherit(announced, nil)
	if err != nil {
		return err
	}
	var serve []func() error
	for _, ask := range asks {
		sock, err := s.Open(context.Background(), ask)
		if err != nil {
			return err
		}
		if !sock.Inherited() {
			return fmt.Errorf("%s is a new socket, inherited were %+v", ask, announced)
		}
		serve = append(serve, func() error { return serveOne(sock, "served as "+ask.String()) })
	}
	if left := s.CloseUnclaimed(); left != nil {
		return fmt.Errorf("nobody asked for %v", left)
	}
	for _, one := range serve {
		if err := one(); err != nil {
			return err
		}
	}
	return s.Close()
}

func serveOne(sock *Socket, answer string) error {
	if pc, ok := sock.Conn().(net.PacketConn); ok {
		_, client, err := pc.ReadFrom(make([]byte, 64))
		if err != nil {
			return err
		}
		_, err = pc.WriteTo([]byte(answer), client)
		return err
	}
	c, err := sock.Conn().(net.Listener).Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, answer)
	return errors.Join(err, c.Close())
}

// activation is a run of systemd-socket-activate.
type activation struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan error
}

// activate starts systemd-socket-activate. It listens on the addresses and becomes the helper when
// the first client comes.
func activate(t *testing.T, args []string, asks []Ask) *activation {
	t.Helper()
	env := helpertest.Use("activated") // even if the test is skipped
	tool, err := exec.LookPath("systemd-socket-activate")
	switch {
	case err != nil && os.Getenv("GRACE_REQUIRE_SYSTEMD") != "":
		t.Fatalf("GRACE_REQUIRE_SYSTEMD is set: %v", err)
	case err != nil:
		t.Skipf("systemd is not installed: %v", err)
	}
	self, err := os.Executable()
	must(t, err)
	var plain []map[string]string // the rest of an Ask has no JSON
	for _, ask := range asks {
		plain = append(plain, map[string]string{
			"Name": ask.Name, "Network": ask.Network, "Address": ask.Address,
		})
	}
	described, err := json.Marshal(plain)
	must(t, err)
	for _, entry := range append(env, envAsks+"="+string(described)) {
		args = append(args, "-E", entry)
	}
	args = append(args, self)
	a := &activation{cmd: exec.Command(tool, args...), done: make(chan error, 1)}
	a.cmd.Stdout, a.cmd.Stderr = &a.output, &a.output
	must(t, a.cmd.Start())
	go func() { a.done <- a.cmd.Wait() }() // ends with the process, which the clean-up kills
	t.Cleanup(func() { _ = a.cmd.Process.Kill() })
	return a
}

// end waits for the helper's end, which must be a success.
func (a *activation) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-a.done:
		if err != nil {
			t.Errorf("%v: %s", err, a.output.String())
		}
	case <-time.After(time.Minute):
		t.Error("the helper does not end")
		_ = a.cmd.Process.Kill()
		<-a.done
	}
}

// dial connects a client as soon as systemd listens.
func (a *activation) dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	d := net.Dialer{}
	if network == "unixgram" { // for an answer, the client needs a path too
		d.LocalAddr = &net.UnixAddr{Name: sockPath(t), Net: network}
	}
	var c net.Conn
	helpertest.Eventually(t, "systemd listens on "+address, func() (ok bool) {
		if len(a.done) > 0 {
			t.Fatalf("it has ended: %s", a.output.String())
		}
		var err error
		c, err = d.Dial(network, address)
		if err != nil && network == "unixgram" {
			_ = os.Remove(d.LocalAddr.String())
		}
		return err == nil
	})
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

// hears asserts that a client gets the answer of the socket that the Ask opened.
func hears(t *testing.T, c net.Conn, ask Ask) {
	t.Helper()
	if c.LocalAddr().Network() == "unixgram" { // otherwise the connection itself is enough
		_, err := io.WriteString(c, "hello")
		must(t, err)
	}
	answer := make([]byte, 256)
	n, err := c.Read(answer)
	if got := string(answer[:n]); got != "served as "+ask.String() {
		t.Errorf("%s answers %q, %v; want that of %s", c.RemoteAddr(), got, err, ask)
	}
}

// freePort returns a free port of a loopback address that other tests are unlikely to use.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.83.1.7:0")
	must(t, err)
	must(t, ln.Close())
	return ln.Addr().String()
}

func TestActivationOfStreams(t *testing.T) {
	dir, port := sockDir(t), freePort(t)
	asks := []Ask{ // in another order than systemd passes them
		{Name: "local", Network: "unix", Address: "/nowhere"},
		{Name: "admin", Network: "tcp", Address: ":0"},
		{Name: "", Network: "unix", Address: dir + "/b"}, // by its address
	}
	args := []string{"-l", port, "-l", dir + "/a", "-l", dir + "/b", "--fdname=admin:local:other"}
	a := activate(t, args, asks)
	for i, addr := range []struct{ network, address string }{
		{"unix", dir + "/a"}, {"tcp", port}, {"unix", dir + "/b"},
	} {
		hears(t, a.dial(t, addr.network, addr.address), asks[i])
	}
	a.end(t)
	if !exists(dir+"/a") || !exists(dir+"/b") {
		t.Error("a path of systemd's was removed")
	}
}

func TestActivationWithoutNames(t *testing.T) {
	path := sockPath(t)
	ask := Ask{Network: "unix", Address: path}
	a := activate(t, []string{"-l", path}, []Ask{ask})
	hears(t, a.dial(t, "unix", path), ask)
	a.end(t)
}

func TestActivationOfDatagrams(t *testing.T) {
	dir := sockDir(t)
	asks := []Ask{
		{Name: "log", Network: "unixgram", Address: "/nowhere"},
		{Name: "trace", Network: "unixgram", Address: "/nowhere"},
	}
	args := []string{"-d", "-l", dir + "/log", "-l", dir + "/trace", "--fdname=log:trace"}
	a := activate(t, args, asks)
	for _, ask := range asks {
		hears(t, a.dial(t, "unixgram", dir+"/"+ask.Name), ask)
	}
	a.end(t)
}

func TestActivationOfSequentialPackets(t *testing.T) {
	path := sockPath(t)
	ask := Ask{Name: "bus", Network: "unixpacket", Address: "/nowhere"}
	a := activate(t, []string{"--seqpacket", "-l", path, "--fdname=bus"}, []Ask{ask})
	hears(t, a.dial(t, "unixpacket", path), ask)
	a.end(t)
}

// A unit that was changed and a program that was not, or the other way round, must be told apart by
// the message.
func TestActivationOfWrongKind(t *testing.T) {
	path := sockPath(t)
	a := activate(t, []string{"-l", path, "--fdname=log"},
		[]Ask{{Name: "log", Network: "unixgram", Address: path}})
	a.dial(t, "unix", path)
	if err := <-a.done; err == nil ||
		!strings.Contains(a.output.String(), "listening unix stream socket "+path) {
		t.Errorf("got %v: %s", err, a.output.String())
	}
}
