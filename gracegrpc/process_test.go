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

// If the server of a successor fails, the old process keeps serving.
func TestServerThatFailsInASuccessor(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	s := start(t, config{Bad: bad})
	l := startLoad(s, 1)
	if err := os.WriteFile(bad, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	failed := s.Await("failed upgrade", func(l said) bool {
		return l.What == "UpgradeFinished" && l.Err != ""
	})
	if !strings.Contains(failed.Err, "the network is broken") {
		t.Errorf("the upgrade failed with %s", failed.Err)
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

// follow opens a stream that lasts until the drain, or forever, and returns the process it is in.
func follow(
	t *testing.T, c pb.TestServiceClient, until string,
) (pb.TestService_HalfDuplexCallClient, string) {
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

// A stream that learns of the drain ends with it, and the next one of its client is in the new
// process.
func TestStreamThatLearnsOfTheDrain(t *testing.T) {
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
		t.Errorf("streams in processes %s and %s, and %d serves", before, after, pid)
	}
	if report, left := s.awaitReport(1), s.awaitLeft(1); report.Cut || left.Err != "" {
		t.Errorf("%+v, %+v", report, left)
	}
	s.stop()
}

// A stream that does not end is cut at the deadline, which is not an error.
func TestStreamThatDoesNotEnd(t *testing.T) {
	s := start(t, config{Timeout: time.Second})
	cc := dial(t, s.addr)
	defer cc.Close()
	stream, _ := follow(t, pb.NewTestServiceClient(cc), forever)
	s.upgrade()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream has ended with %v", err)
	}
	report, left := s.awaitReport(1), s.awaitLeft(1)
	if !report.Cut || left.Err != "" {
		t.Errorf("%+v, %+v", report, left)
	}
	s.stop()
}
