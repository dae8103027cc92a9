//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
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

// The program is upgraded three times. After each upgrade the new process answers, and no client is
// refused.
func TestProgramIsUpgraded(t *testing.T) {
	cmd := servicetest.Command(nil)
	url := "http://" + servicetest.Listen(t, cmd)
	s := servicetest.StartLog(t, cmd)
	s.AwaitReady(1)
	for range 3 {
		pid := s.Upgrade()
		for ask(t, url) != fmt.Sprintf("process %d\n", pid) {
			time.Sleep(time.Millisecond) // the old process is about to close its listener
		}
	}
	if answer := ask(t, url+"/ready"); answer != "ready\n" {
		t.Errorf("/ready answers %q", answer)
	}
	s.Signal(syscall.SIGTERM)
	s.AwaitCleanEnd()
}

// ask sends a request on a connection of its own.
func ask(t *testing.T, url string) string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Without an address, the program says how it is called.
func TestUsage(t *testing.T) {
	out, err := servicetest.Command(nil).CombinedOutput()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ended.ExitCode() != 2 || string(out) != "usage: http HOST:PORT\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
