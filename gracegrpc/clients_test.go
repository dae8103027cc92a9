//go:build linux

package gracegrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// load is clients of a service that never retry. (grpc-go alone sends an RPC again if the server
// says that it has not processed it.)
type load struct {
	t       *testing.T
	addr    string
	clients int
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	calls    int64
	failures []string
}

// startLoad starts clients of each kind: some that share a connection, and some that open one for
// each RPC. Most of them connect often, for short RPCs.
func startLoad(s *service, copies int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: s.t, addr: s.addr, cancel: cancel}
	for i := range copies {
		kept := dial(s.t, s.addr)
		s.t.Cleanup(func() { kept.Close() })
		for name, call := range kinds {
			l.start(ctx, fmt.Sprintf("kept %s %d", name, i), kept, call)
			l.start(ctx, fmt.Sprintf("fresh %s %d", name, i), nil, call)
		}
		for j := range 8 {
			l.start(ctx, fmt.Sprintf("short %d-%d", i, j), nil, unary)
		}
	}
	return l
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

func connect(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
}

// start starts a client that calls repeatedly, on the connection or, if that is nil, on new ones.
func (l *load) start(ctx context.Context, name string, kept *grpc.ClientConn, call kind) {
	l.clients++
	l.running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			l.count(name, l.once(kept, call, fmt.Sprintf("%s-%d", name, n)))
			time.Sleep(2 * time.Millisecond)
		}
	})
}

func (l *load) once(cc *grpc.ClientConn, call kind, id string) error {
	if cc == nil {
		var err error
		if cc, err = connect(l.addr); err != nil {
			return err
		}
		defer cc.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return call(ctx, pb.NewTestServiceClient(cc), id)
}

func (l *load) count(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%s: %v", what, err))
	}
}

// goOn waits for more calls: twice as many as there are clients.
func (l *load) goOn() {
	l.t.Helper()
	began, enough := time.Now(), l.done()+int64(2*l.clients)
	for l.done() < enough {
		if time.Since(began) > patience {
			l.t.Fatal("the load stands still")
		}
		time.Sleep(time.Millisecond)
	}
}

func (l *load) done() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// stop ends the load, and returns how many calls there were and what went wrong.
func (l *load) stop() (calls int64, failures []string) {
	l.cancel()
	l.running.Wait()
	return l.calls, l.failures
}

// kind is a way to call the service.
type kind func(ctx context.Context, c pb.TestServiceClient, id string) error

var kinds = map[string]kind{
	"unary": unary, "client-stream": clientStream,
	"server-stream": serverStream, "bidi-stream": bidiStream,
}

const (
	messages = 10 // of a stream
	interval = 10 * time.Millisecond
)

func unary(ctx context.Context, c pb.TestServiceClient, id string) error {
	resp, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(id)})
	return check(resp.GetPayload(), err, id)
}

func clientStream(ctx context.Context, c pb.TestServiceClient, id string) error {
	stream, err := c.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	for range messages {
		if err := stream.Send(&pb.StreamingInputCallRequest{Payload: payload(id)}); err != nil {
			return errors.Join(err, stream.RecvMsg(&pb.StreamingInputCallResponse{})) // the reason
		}
		time.Sleep(interval)
	}
	resp, err := stream.CloseAndRecv()
	if err == nil && int(resp.AggregatedPayloadSize) != messages*len(id) {
		err = fmt.Errorf("%d bytes have arrived", resp.AggregatedPayloadSize)
	}
	return err
}

func serverStream(ctx context.Context, c pb.TestServiceClient, id string) error {
	req := &pb.StreamingOutputCallRequest{Payload: payload(id)}
	for range messages {
		p := &pb.ResponseParameters{IntervalUs: int32(interval.Microseconds())}
		req.ResponseParameters = append(req.ResponseParameters, p)
	}
	stream, err := c.StreamingOutputCall(ctx, req)
	if err != nil {
		return err
	}
	for i := range messages {
		resp, err := stream.Recv()
		if err := check(resp.GetPayload(), err, fmt.Sprintf("%s %d", id, i)); err != nil {
			return err
		}
	}
	return end(stream)
}

func bidiStream(ctx context.Context, c pb.TestServiceClient, id string) error {
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for i := range messages {
		text := fmt.Sprintf("%s %d", id, i)
		if err := stream.Send(&pb.StreamingOutputCallRequest{Payload: payload(text)}); err != nil {
			return errors.Join(err, stream.RecvMsg(&pb.StreamingOutputCallResponse{})) // the reason
		}
		resp, err := stream.Recv()
		if err := check(resp.GetPayload(), err, text); err != nil {
			return err
		}
		time.Sleep(interval)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return end(stream)
}

func check(got *pb.Payload, err error, want string) error {
	if err == nil && string(got.GetBody()) != want {
		err = fmt.Errorf("the answer is %q, want %q", got.GetBody(), want)
	}
	return err
}

// end returns an error unless the stream has ended.
func end(stream grpc.ClientStream) error {
	if err := stream.RecvMsg(&pb.StreamingOutputCallResponse{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("instead of the end: %w", err)
	}
	return nil
}
