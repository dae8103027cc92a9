//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// patience bounds each wait of a test, for something that will happen.
const patience = servicetest.Patience

// The test binary is the program too, so the race detector watches the program.
func TestMain(m *testing.M) {
	servicetest.Main(func(any) error { main(); return nil })
	os.Exit(m.Run())
}

// service is echo, with all its generations.
type service struct {
	*servicetest.Service[string]
	addr string
}

func startService(t *testing.T) *service {
	t.Helper()
	addr := freeAddr(t)
	s := servicetest.StartLog(t, servicetest.Command(nil, addr))
	s.AwaitReady(1)
	return &service{s, addr}
}

// freeAddr returns an unused address. No other program listens on an IP address like this one, or
// connects from it.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.11.7.7:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// state returns the state of a process as a letter of proc_pid_stat(5), such as T for stopped. It
// returns "" if there is no such process.
func state(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	end := bytes.LastIndexByte(stat, ')') // of its name
	if err != nil || end < 0 || len(stat) < end+3 {
		return ""
	}
	return string(stat[end+2])
}

// gone reports whether a process has ended. A zombie has.
func gone(pid int) bool {
	now := state(pid)
	return now == "" || now == "Z" || now == "X"
}
