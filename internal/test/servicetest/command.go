//go:build linux

package servicetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// envConfig has the config of the service that this process is to be.
const envConfig = "GRACE_TEST_SERVICE"

// Main makes this process the service, and does not return, if it was started as such: by a
// [Command], or by a service that was. To be called first in TestMain.
func Main[C any](service func(C) error) {
	text, ok := os.LookupEnv(envConfig)
	if !ok {
		return
	}
	var c C
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = service(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Env is the variable that makes the test binary the service with this config, which is encoded as
// JSON.
func Env(config any) string {
	text, err := json.Marshal(config)
	if err != nil {
		panic(err) // a config has only what can be encoded
	}
	return envConfig + "=" + string(text)
}

// Command is the test binary as the service. All generations inherit the config.
func Command(config any, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	// The race detector would have every generation sleep for a second before it exits.
	env := slices.DeleteFunc(os.Environ(), isOfSudo)
	cmd.Env = append(env, "GORACE=atexit_sleep_ms=0", Env(config))
	return cmd
}

// isOfSudo reports whether sudo has set a variable, by which the service would know that another
// user has started it.
func isOfSudo(entry string) bool { return strings.HasPrefix(entry, "SUDO_") }

// Listen opens a port for a program, which gets its address as a further argument, and inherits its
// socket as from systemd: so nobody else can get hold of it.
func Listen(t testing.TB, cmd *exec.Cmd) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := ln.(*net.TCPListener).File()
	if err := errors.Join(err, ln.Close()); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append(cmd.Args, ln.Addr().String())
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{file}
	return ln.Addr().String()
}
