//go:build linux

package gracegrpc

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// A successor whose server fails leaves the service to the old process.
func TestServerThatFailsInASuccessor(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	s := start(t, config{Bad: bad})
	l := startLoad(s, 1)
	if err := os.WriteFile(bad, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	failed := s.Await("failed upgrade", func(l said) bool { return l.What == "UpgradeFinished" && l.Err != "" })
	if !strings.Contains(failed.Err, "the network is broken") {
		t.Errorf("the upgrade failed by %s", failed.Err)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	s.upgrade()
	if calls, failures := l.stop(); calls == 0 || len(failures) > 0 {
		t.Errorf("%d RPCs, %v", calls, failures)
	}
	s.stop()
}

// follow opens a stream that ends with the drain, or never, and tells in which process.
func follow(t *testing.T, c pb.TestServiceClient, until string) (pb.TestService_HalfDuplexCallClient, string) {
	t.Helper()
	stream, err := c.HalfDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.StreamingOutputCallRequest{Payload: payload(until)}); err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return stream, string(first.Payload.Body)
}

// A stream that listens to the drain ends with it, and the next one of its client is in the new process.
func TestStreamThatListensToTheDrain(t *testing.T) {
	s := start(t, config{})
	cc := dial(t, s.addr)
	defer cc.Close()
	c := pb.NewTestServiceClient(cc)
	stream, before := follow(t, c, "the drain")
	s.upgrade()
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the stream has ended with %v", err)
	}
	_, after := follow(t, c, "the drain")
	if _, pid := s.Newest(); after != fmt.Sprint(pid) || before == after {
		t.Errorf("the first stream was in process %s, the second one in %s, and %d serves", before, after, pid)
	}
	if report, left := s.awaitReport(1), s.awaitLeft(1); report.Cut || left.Err != "" {
		t.Errorf("%+v, %+v", report, left)
	}
	s.stop()
}

// A stream that does not end is cut at the deadline.
func TestStreamThatDoesNotEnd(t *testing.T) {
	s := start(t, config{Timeout: time.Second})
	cc := dial(t, s.addr)
	defer cc.Close()
	stream, _ := follow(t, pb.NewTestServiceClient(cc), "for ever")
	s.upgrade()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream has ended with %v", err)
	}
	if report, left := s.awaitReport(1), s.awaitLeft(1); !report.Cut || !strings.Contains(left.Err, "had not finished, and was stopped: context deadline exceeded") {
		t.Errorf("%+v, %+v", report, left)
	}
	s.stop()
}
