// Clock tells the time over gRPC, once or every second. Replace the binary and send it SIGHUP: no
// RPC fails, and clients that follow the clock reach the new process. It belongs to the module
// gracegrpc, and is built there:
//
//	cd gracegrpc && go build ./examples/clock && ./clock localhost:7002
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing" // comes with grpc-go, in place of one's own

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracegrpc"
)

type clock struct {
	pb.UnimplementedTestServiceServer
	draining <-chan struct{}
}

func (*clock) UnaryCall(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: now()}, nil
}

func (c *clock) StreamingOutputCall(
	_ *pb.StreamingOutputCallRequest, stream pb.TestService_StreamingOutputCallServer,
) error {
	tick := time.Tick(time.Second)
	for {
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: now()}); err != nil {
			return err
		}
		select {
		case <-tick:
		case <-c.draining:
			return nil // the client calls again, and reaches the new process
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func now() *pb.Payload {
	text := fmt.Sprintf("%s in process %d", time.Now().Format(time.TimeOnly), os.Getpid())
	return &pb.Payload{Body: []byte(text)}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: clock HOST:PORT")
		os.Exit(2)
	}
	ctx := context.Background()
	m, err := grace.New(grace.WithLogger(slog.Default()))
	if err != nil {
		log.Fatal(err)
	}
	ln, err := m.Listen(ctx, "tcp", os.Args[1]) // binds, or takes over from the previous process
	if err != nil {
		log.Fatal(err)
	}
	// A client that connects and says nothing does not hold up a drain for longer.
	srv := grpc.NewServer(grpc.ConnectionTimeout(5 * time.Second))
	pb.RegisterTestServiceServer(srv, &clock{draining: gracegrpc.Draining(m)})
	if err := gracegrpc.Start(m, srv, ln); err != nil {
		log.Fatal(err)
	}
	// It returns after the last RPC, on SIGTERM or once SIGHUP has started a new process.
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
