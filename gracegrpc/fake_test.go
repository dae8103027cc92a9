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

// newRig serves; the Manager is ready.
func newRig(t *testing.T, opts ...grpc.ServerOption) *rig {
	t.Helper()
	r := &rig{t: t, Listener: pipenet.Listen()}
	r.Manager = newManager(t, grace.WithObserver(r))
	if err := Serve(r.Manager, newServer(r.Manager, opts...), r.Listener); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func newManager(t *testing.T, opts ...grace.Option) *grace.Manager {
	t.Helper()
	m, err := grace.New(append(opts, grace.WithUpgradeSignals(), grace.WithShutdownSignals())...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newServer(m *grace.Manager, opts ...grpc.ServerOption) *grpc.Server {
	srv := grpc.NewServer(opts...)
	pb.RegisterTestServiceServer(srv, &site{draining: Draining(m)})
	return srv
}

func (r *rig) Observe(rec grace.Record) {
	if e, ok := rec.Event.(grace.Reported); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, e.Report.(DrainReport))
	}
}

// drain shuts down, and gives what comes of it.
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

// check compares with what is expected of a process whose only work was that of the server.
func (d drained) check(t *testing.T, took time.Duration, cut bool) {
	t.Helper()
	if d.took != took || d.Duration != took || d.Cut != cut || (d.err == nil) == cut {
		t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
	}
	if level, _, _ := d.Describe(); (level == slog.LevelWarn) != cut {
		t.Errorf("it is logged at level %v", level)
	}
}

// site is a service.
type site struct {
	pb.UnimplementedTestServiceServer
	draining <-chan struct{}
}

// UnaryCall answers after some time, which the request tells.
func (s *site) UnaryCall(ctx context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	select {
	case <-time.After(time.Duration(req.ResponseSize) * time.Second):
	case <-ctx.Done():
	}
	return &pb.SimpleResponse{}, ctx.Err()
}

// FullDuplexCall is a stream that ends when it is told to. StreamingOutputCall ends only when it is cut, and HalfDuplexCall not even
// then.
func (s *site) FullDuplexCall(stream pb.TestService_FullDuplexCallServer) error {
	select {
	case <-s.draining:
		return nil
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (s *site) StreamingOutputCall(_ *pb.StreamingOutputCallRequest, stream pb.TestService_StreamingOutputCallServer) error {
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

func newClient(t *testing.T, l *pipenet.Listener) *client {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:pipe", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, ClientConn: cc, TestServiceClient: pb.NewTestServiceClient(cc)}
}

// call asks for an answer in so many seconds.
func (c *client) call(seconds int32) <-chan error {
	result := make(chan error, 1)
	go func() { // ends with the RPC
		_, err := c.UnaryCall(context.Background(), &pb.SimpleRequest{ResponseSize: seconds})
		result <- err
	}()
	return result
}

type opener func(context.Context) (grpc.ClientStream, error)

// follow opens a stream, and gives how it ends.
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

func (c *client) polite(ctx context.Context) (grpc.ClientStream, error) { return c.FullDuplexCall(ctx) }

func (c *client) stubborn(ctx context.Context) (grpc.ClientStream, error) {
	return c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{})
}

func (c *client) deaf(ctx context.Context) (grpc.ClientStream, error) { return c.HalfDuplexCall(ctx) }
