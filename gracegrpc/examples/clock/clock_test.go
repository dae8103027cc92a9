//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/go-grace/grace/internal/test/servicetest"
)

// The test binary is the program too, so the race detector watches the program.
func TestMain(m *testing.M) {
	servicetest.Main(func(any) error { main(); return nil })
	os.Exit(m.Run())
}

// The program is upgraded three times. A client that follows the clock gets from each process to
// the next by calling again, and no RPC fails.
func TestProgramIsUpgraded(t *testing.T) {
	cmd := servicetest.Command(nil)
	addr := servicetest.Listen(t, cmd)
	s := servicetest.StartLog(t, cmd)
	cc, err := grpc.NewClient(addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c := pb.NewTestServiceClient(cc)
	pid := s.AwaitReady(1)
	for range 3 {
		stream := follow(t, c, pid)
		pid = s.Upgrade()
		if err := end(stream); err != io.EOF {
			t.Errorf("the stream has ended with %v", err)
		}
		resp, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{})
		expect(t, resp.GetPayload(), err, pid)
	}
	s.Signal(syscall.SIGTERM)
	s.AwaitCleanEnd()
}

// follow opens a stream in a process.
func follow(
	t *testing.T, c pb.TestServiceClient, pid int,
) pb.TestService_StreamingOutputCallClient {
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
		t.Errorf("the answer is %q, %v, and not of process %d", got.GetBody(), err, pid)
	}
}

// Without an address, the program says how it is called.
func TestUsage(t *testing.T) {
	out, err := servicetest.Command(nil).CombinedOutput()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ended.ExitCode() != 2 || string(out) != "usage: clock HOST:PORT\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
