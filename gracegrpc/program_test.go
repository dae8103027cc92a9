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
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/servicetest"
)

// config is what a test tells the service that it starts. Successors get the same.
type config struct {
	Plain   bool   // drain by grpc.Server.Stop alone
	Bad     string // a file: once it exists, the listener of the next process does not accept
	Timeout time.Duration
}

// said is a line of the service, for the test to read.
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

func observe(r grace.Record) {
	s := said{What: strings.TrimPrefix(fmt.Sprintf("%T", r.Event), "grace."), Generation: r.Generation}
	switch e := r.Event.(type) {
	case grace.SocketOpened:
		s.Addr = e.Addr.String()
	case grace.ReadyFinished:
		s.Err = text(e.Err)
	case grace.UpgradeFinished:
		s.Err = text(e.Err)
	case grace.Reported:
		report := e.Report.(DrainReport)
		s.Drain, s.Cut = report.Duration, report.Cut
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

// serve is the program.
func (c config) serve() error {
	opts := []grace.Option{grace.WithObserver(grace.ObserverFunc(observe)), grace.WithMaxDraining(32)}
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
	if c.Plain {
		m.Append(grace.Hook{OnDrain: func(context.Context) error { srv.Stop(); return nil }})
		go srv.Serve(ln) //nolint:errcheck // it serves until the drain
	} else if err := Serve(m, srv, ln); err != nil {
		return err
	}
	err = m.Run(context.Background())
	say(said{What: "left", Generation: m.Status().Generation, Handled: impl.handled.Load(), Err: text(err), Files: len(servicetest.Descriptors())})
	return err
}

// brokenListener does not accept.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, fmt.Errorf("the network is broken") }

// echo answers with what it is sent.
type echo struct {
	pb.UnimplementedTestServiceServer
	draining <-chan struct{}
	handled  atomic.Int64
}

func (e *echo) UnaryCall(_ context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	e.handled.Add(1)
	return &pb.SimpleResponse{Payload: req.Payload}, nil
}

// StreamingInputCall answers with the length of all that has come.
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

// StreamingOutputCall sends numbered answers, at the times that the request tells.
func (e *echo) StreamingOutputCall(req *pb.StreamingOutputCallRequest, stream pb.TestService_StreamingOutputCallServer) error {
	e.handled.Add(1)
	for i, p := range req.ResponseParameters {
		time.Sleep(time.Duration(p.IntervalUs) * time.Microsecond)
		if err := stream.Send(output(fmt.Sprintf("%s %d", req.Payload.Body, i))); err != nil {
			return err
		}
	}
	return nil
}

// FullDuplexCall answers each message.
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

// HalfDuplexCall tells which process it is in, and goes on until the drain, or for ever if the client asks for that.
func (e *echo) HalfDuplexCall(stream pb.TestService_HalfDuplexCallServer) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	draining := e.draining
	if string(req.Payload.Body) == "for ever" {
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

func output(body string) *pb.StreamingOutputCallResponse {
	return &pb.StreamingOutputCallResponse{Payload: payload(body)}
}

func payload(body string) *pb.Payload { return &pb.Payload{Body: []byte(body)} }
