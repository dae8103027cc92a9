package gracegrpc

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// rig is a Manager with a server, in fake time.
type rig struct {
	t *testing.T
	*grace.Manager
	*pipenet.Listener

	mu      sync.Mutex
	reports []DrainReport
}

// newRig starts the server, and makes the Manager ready.
func newRig(t *testing.T, opts ...grpc.ServerOption) *rig {
	t.Helper()
	return newRigWith(t, nil, opts...)
}

// newRigWith is newRig for a Manager with options.
func newRigWith(t *testing.T, with []grace.Option, opts ...grpc.ServerOption) *rig {
	t.Helper()
	r := &rig{t: t, Listener: pipenet.Listen()}
	r.Manager = managertest.New(t, append(with, grace.WithObserver(r))...)
	if err := Start(r.Manager, newTestServer(r.Manager, opts...), r.Listener); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func newTestServer(m *grace.Manager, opts ...grpc.ServerOption) *grpc.Server {
	srv := grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(srv, &site{draining: Draining(m)})
	return srv
}

func (r *rig) Observe(_ context.Context, rec graceevent.Record) {
	if e, ok := rec.Event.(DrainReport); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, e)
	}
}

// drain shuts the Manager down, and returns the outcome.
func (r *rig) drain() <-chan drained {
	result := make(chan drained, 1)
	go func() { // ends with the drain
		began := time.Now()
		err := r.Shutdown(context.Background())
		r.mu.Lock()
		defer r.mu.Unlock()
		result <- drained{DrainReport: r.reports[0], took: time.Since(began), err: err}
	}()
	return result
}

type drained struct {
	DrainReport
	took time.Duration
	err  error
}

// check compares the outcome with that of a process whose only work was the server's. Cut RPCs are
// not an error.
func (d drained) check(t *testing.T, took time.Duration, cut bool) {
	t.Helper()
	if d.took != took || d.Duration != took || d.Cut != cut || d.err != nil {
		t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
	}
	if level, _, _ := d.Describe(); (level == slog.LevelWarn) != cut {
		t.Errorf("it is logged at level %v", level)
	}
}

// site is a service for tests in fake time.
type site struct {
	pb.UnimplementedTestServiceServer
	draining <-chan struct{}
}

// UnaryCall responds after the time in the request.
func (s *site) UnaryCall(ctx context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	select {
	case <-time.After(time.Duration(req.ResponseSize) * time.Second):
	case <-ctx.Done():
	}
	return &pb.SimpleResponse{}, ctx.Err()
}

// FullDuplexCall is a stream that ends when it learns of the drain. StreamingOutputCall ends only
// when it is cut, and HalfDuplexCall not even then.
func (s *site) FullDuplexCall(stream pb.TestService_FullDuplexCallServer) error {
	select {
	case <-s.draining:
		return nil
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (s *site) StreamingOutputCall(
	_ *pb.StreamingOutputCallRequest, stream pb.TestService_StreamingOutputCallServer,
) error {
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (s *site) HalfDuplexCall(pb.TestService_HalfDuplexCallServer) error {
	time.Sleep(time.Hour)
	return nil
}

type client struct {
	t *testing.T
	*grpc.ClientConn
	pb.TestServiceClient
}

// dialer connects to a server. *pipenet.Listener is one.
type dialer interface{ Dial() (net.Conn, error) }

func newClient(t *testing.T, to dialer) *client {
	t.Helper()
	dial := func(context.Context, string) (net.Conn, error) { return to.Dial() }
	cc, err := grpc.NewClient("passthrough:pipe",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(dial))
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, ClientConn: cc, TestServiceClient: pb.NewTestServiceClient(cc)}
}

// call asks for a response after the given number of seconds.
func (c *client) call(seconds int32) <-chan error {
	result := make(chan error, 1)
	go func() { // ends with the RPC
		_, err := c.UnaryCall(context.Background(), &pb.SimpleRequest{ResponseSize: seconds})
		result <- err
	}()
	return result
}

type opener func(context.Context) (grpc.ClientStream, error)

// follow opens a stream, and returns how it ends.
func (c *client) follow(open opener) <-chan error {
	result := make(chan error, 1)
	go func() { // ends with the RPC
		stream, err := open(context.Background())
		if err == nil {
			err = stream.RecvMsg(&pb.StreamingOutputCallResponse{})
		}
		result <- err
	}()
	return result
}

func (c *client) polite(ctx context.Context) (grpc.ClientStream, error) {
	return c.FullDuplexCall(ctx)
}

func (c *client) stubborn(ctx context.Context) (grpc.ClientStream, error) {
	return c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{})
}

func (c *client) deaf(ctx context.Context) (grpc.ClientStream, error) {
	return c.HalfDuplexCall(ctx)
}
