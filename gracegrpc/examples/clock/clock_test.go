//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// patience is how long anything may take on a machine that is busy with something else.
const patience = 30 * time.Second

// The program is upgraded three times. Who follows the clock gets from each process to the next one by calling again, and nothing
// fails.
func TestProgramIsUpgraded(t *testing.T) {
	s := start(t)
	cc, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c := pb.NewTestServiceClient(cc)
	pid := s.awaitReady(t, 1)
	for generation := 2; generation <= 4; generation++ {
		stream := follow(t, c, pid)
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		pid = s.awaitReady(t, generation)
		if err := end(stream); err != io.EOF {
			t.Errorf("the stream has ended with %v", err)
		}
		resp, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{})
		expect(t, resp.GetPayload(), err, pid)
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

// follow opens a stream in a process.
func follow(t *testing.T, c pb.TestServiceClient, pid int) pb.TestService_StreamingOutputCallClient {
	t.Helper()
	stream, err := c.StreamingOutputCall(t.Context(), &pb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	expect(t, resp.GetPayload(), err, pid)
	return stream
}

// end reads to the end of a stream.
func end(stream pb.TestService_StreamingOutputCallClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

func expect(t *testing.T, got *pb.Payload, err error, pid int) {
	t.Helper()
	if err != nil || !strings.HasSuffix(string(got.Body), fmt.Sprintf(" in process %d", pid)) {
		t.Errorf("process %d does not answer, but %q, %v", pid, got.GetBody(), err)
	}
}

type service struct {
	addr  string
	first *exec.Cmd
	lines chan string // of the log; closed when no process is left
}

func start(t *testing.T) *service {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clock")
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
