//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take on a machine that is busy with something else.
const patience = 30 * time.Second

// The program is upgraded three times: each process in its turn answers the clients that connect, and none of them is refused.
func TestProgramIsUpgraded(t *testing.T) {
	s := start(t)
	pid := s.awaitReady(t, 1)
	for generation := 2; generation <= 4; generation++ {
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		pid = s.awaitReady(t, generation)
		for s.ask(t, "/") != fmt.Sprintf("process %d\n", pid) { // until the old process has closed its listener
			time.Sleep(time.Millisecond)
		}
	}
	if answer := s.ask(t, "/ready"); answer != "ready\n" {
		t.Errorf("/ready answers %q", answer)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for line := range s.lines {
		if strings.Contains(line, " ERROR ") || strings.Contains(line, " WARN ") {
			t.Error(line)
		}
	}
	if err := s.first.Wait(); err != nil {
		t.Errorf("the first process ended with %v", err)
	}
}

type service struct {
	addr  string
	first *exec.Cmd
	lines chan string // of the log; closed when no process is left
}

func start(t *testing.T) *service {
	t.Helper()
	path := filepath.Join(t.TempDir(), "http")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the program inherits it: nobody else can get hold of the port
	if err != nil {
		t.Fatal(err)
	}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: ln.Addr().String(), lines: make(chan string, 1000)}
	s.first = exec.Command(path, s.addr)
	s.first.Env = append(os.Environ(), "LISTEN_FDS=1")
	s.first.ExtraFiles = []*os.File{file}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.first.Stderr = in
	if err := s.first.Start(); err != nil {
		t.Fatal(err)
	}
	_, _, _ = file.Close(), ln.Close(), in.Close()
	go func() { // ends with the last process
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() { _ = s.first.Process.Kill() }) // after a failure
	return s
}

// awaitReady waits until a generation serves, and gives its process.
func (s *service) awaitReady(t *testing.T, generation int) int {
	t.Helper()
	ready := regexp.MustCompile(fmt.Sprintf(` INFO ready .*generation=%d pid=(\d+) `, generation))
	timeout := time.After(patience)
	for {
		select {
		case line := <-s.lines:
			if found := ready.FindStringSubmatch(line); found != nil {
				pid, _ := strconv.Atoi(found[1]) // digits
				return pid
			}
		case <-timeout:
			t.Fatalf("generation %d does not become ready", generation)
		}
	}
}

// ask sends a request on a connection of its own.
func (s *service) ask(t *testing.T, path string) string {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get("http://" + s.addr + path)
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
