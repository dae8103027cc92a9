//go:build linux

package e2e

import (
	"context"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/test/bufconn"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracegrpc"
	"github.com/go-grace/grace/gracehttp"
)

// gatewayConfig configures a service that answers HTTP by calling gRPC in its own process, as
// programs with grpc-gateway do.
type gatewayConfig struct {
	StopDelay time.Duration
	InMemory  bool // gRPC is reached through bufconn, and not over TCP
}

func (c gatewayConfig) start(m *grace.Manager, h *handler) error {
	client, err := c.startGRPC(m)
	if err != nil {
		return err
	}
	plain, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0", grace.WithName("plain"))
	if err != nil {
		return err
	}
	g := &gateway{handler: h, client: pb.NewTestServiceClient(client)}
	return gracehttp.Start(m, &http.Server{Handler: g, ConnState: h.connState}, plain)
}

// startGRPC starts the gRPC server, and returns a client of it.
func (c gatewayConfig) startGRPC(m *grace.Manager) (*grpc.ClientConn, error) {
	ln, dial, err := c.listen(m)
	if err != nil {
		return nil, err
	}
	srv := grpc.NewServer()
	pb.RegisterTestServiceServer(srv, echo{})
	if err := gracegrpc.Start(m, srv, ln); err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:"+ln.Addr().String(), grpc.WithDisableRetry(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
}

type dialer = func(ctx context.Context, addr string) (net.Conn, error)

func (c gatewayConfig) listen(m *grace.Manager) (net.Listener, dialer, error) {
	if c.InMemory {
		ln := bufconn.Listen(1 << 16)
		return ln, func(ctx context.Context, _ string) (net.Conn, error) {
			return ln.DialContext(ctx)
		}, nil
	}
	ln, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0", grace.WithName("grpc"))
	return ln, func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}, err
}

// gateway answers with what the gRPC server answers.
type gateway struct {
	*handler
	client pb.TestServiceClient
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &pb.SimpleRequest{Payload: &pb.Payload{Body: []byte(r.FormValue("id"))}}
	resp, err := g.client.UnaryCall(r.Context(), req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	g.respond(w, answer{ID: string(resp.Payload.Body), Method: r.Method})
}

// echo answers with what it gets.
type echo struct {
	pb.UnimplementedTestServiceServer
}

func (echo) UnaryCall(_ context.Context, req *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: req.Payload}, nil
}
