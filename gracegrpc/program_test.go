//go:build linux

package gracegrpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/servicetest"
)

// config configures the service that a test starts. Successors get the same.
type config struct {
	Plain   bool   // drain by grpc.Server.Stop alone
	Bad     string // a file: once it exists, the listener of the next process does not accept
	Timeout time.Duration
}

// said is a line that the service writes for the test.
type said struct {
	What       string
	PID        int
	Generation int
	Addr       string        `json:",omitempty"`
	Err        string        `json:",omitempty"`
	Handled    int64         `json:",omitempty"`
	Drain      time.Duration `json:",omitempty"`
	Cut        bool          `json:",omitempty"`
	Files      int           `json:",omitempty"`
}

func say(s said) {
	s.PID = os.Getpid()
	line, _ := json.Marshal(s)
	_, _ = os.Stdout.Write(append(line, '\n')) // one write: generations share the pipe
}

func observe(_ context.Context, r graceevent.Record) {
	s := said{What: reflect.TypeOf(r.Event).Name(), Generation: r.Generation}
	switch e := r.Event.(type) {
	case graceevent.SocketOpened:
		s.Addr = e.Addr.String()
	case graceevent.ReadyFinished:
		s.Err = text(e.Err)
	case graceevent.UpgradeFinished:
		s.Err = text(e.Err)
	case graceevent.DrainFinished:
		s.Err, s.Cut = text(e.Err), e.CutConnections() > 0
	case DrainReport:
		s.Drain, s.Cut = e.Duration, e.Cut
	default:
		return
	}
	say(s)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// serve is the service.
func (c config) serve() error {
	opts := []grace.Option{
		grace.WithObserver(graceevent.ObserverFunc(observe)), grace.WithMaxDraining(32),
	}
	if c.Timeout > 0 {
		opts = append(opts, grace.WithDrainTimeout(c.Timeout))
	}
	m, err := grace.New(opts...)
	if err != nil {
		return err
	}
	ln, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Bad); err == nil {
		ln = brokenListener{ln}
		m.Append(grace.Hook{OnReady: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	}
	srv, impl := grpc.NewServer(), &echo{draining: Draining(m)}
	pb.RegisterTestServiceServer(srv, impl)
	healthpb.RegisterHealthServer(srv, Health(m, health.NewServer()))
	if c.Plain {
		m.Append(grace.Hook{OnDrain: func(context.Context) error { srv.Stop(); return nil }})
		go srv.Serve(ln) //nolint:errcheck // it serves until the drain
	} else if err := Start(m, srv, ln); err != nil {
		return err
	}
	err = m.Run(context.Background())
	say(said{
		What: "left", Generation: m.Status().Generation, Err: text(err),
		Handled: impl.handled.Load(), Files: len(servicetest.Descriptors()),
	})
	return err
}

// brokenListener does not accept.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("the network is broken") }

// echo responds with what it receives.
type echo struct {
	pb.UnimplementedTestServiceServer
	draining <-chan struct{}
	handled  atomic.Int64
}

func (e *echo) UnaryCall(_ context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	e.handled.Add(1)
	return &pb.SimpleResponse{Payload: req.Payload}, nil
}

// StreamingInputCall responds with the total length of the requests.
func (e *echo) StreamingInputCall(stream pb.TestService_StreamingInputCallServer) error {
	e.handled.Add(1)
	var sum int32
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: sum})
		}
		if err != nil {
			return err
		}
		sum += int32(len(req.Payload.Body))
	}
}

// StreamingOutputCall sends numbered responses, at the times in the request.
func (e *echo) StreamingOutputCall(
	req *pb.StreamingOutputCallRequest, stream pb.TestService_StreamingOutputCallServer,
) error {
	e.handled.Add(1)
	for i, p := range req.ResponseParameters {
		time.Sleep(time.Duration(p.IntervalUs) * time.Microsecond)
		if err := stream.Send(output(fmt.Sprintf("%s %d", req.Payload.Body, i))); err != nil {
			return err
		}
	}
	return nil
}

// FullDuplexCall responds to each message.
func (e *echo) FullDuplexCall(stream pb.TestService_FullDuplexCallServer) error {
	e.handled.Add(1)
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(output(string(req.Payload.Body))); err != nil {
			return err
		}
	}
}

// HalfDuplexCall responds with its process, and lasts until the drain, or forever if the client
// asks for that.
func (e *echo) HalfDuplexCall(stream pb.TestService_HalfDuplexCallServer) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	draining := e.draining
	if string(req.Payload.Body) == forever {
		draining = nil
	}
	if err := stream.Send(output(fmt.Sprint(os.Getpid()))); err != nil {
		return err
	}
	select {
	case <-draining:
		return nil
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

// forever asks for a stream that does not end with the drain.
const forever = "forever"

func output(body string) *pb.StreamingOutputCallResponse {
	return &pb.StreamingOutputCallResponse{Payload: payload(body)}
}

func payload(body string) *pb.Payload { return &pb.Payload{Body: []byte(body)} }
