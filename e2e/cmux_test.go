//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/soheilhy/cmux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracegrpc"
	"github.com/go-grace/grace/gracehttp"
)

// muxed says which servers share a listener by cmux.
type muxed string

const (
	muxedGRPC  muxed = "gracehttp and gracegrpc"
	muxedHTTP  muxed = "two servers of gracehttp"
	muxedPlain muxed = "two servers of net/http"
)

func (x muxed) start(m *grace.Manager, h *handler) error {
	root, err := m.Listen(context.Background(), "tcp", "127.0.0.1:0", grace.WithName("plain"))
	if err != nil {
		return err
	}
	mux := cmux.New(root)
	first, rest := mux.Match(cmux.HTTP1Fast()), mux.Match(cmux.Any())
	if err := x.serve(m, h, first, rest); err != nil {
		return err
	}
	m.Go(mux.Serve)
	return nil
}

func (x muxed) serve(m *grace.Manager, h *handler, first, rest net.Listener) error {
	serve := gracehttp.Start
	if x == muxedPlain {
		serve = servePlainly
	}
	srv := &http.Server{Handler: h.mux(), ConnState: h.connState}
	if err := serve(m, srv, first); err != nil {
		return err
	}
	if x != muxedGRPC {
		return serve(m, &http.Server{Handler: h.mux()}, rest)
	}
	calls := grpc.NewServer()
	pb.RegisterTestServiceServer(calls, echo{})
	return gracegrpc.Start(m, calls, rest)
}

// servePlainly is what programs do without gracehttp.
func servePlainly(
	m *grace.Manager, srv *http.Server, ln net.Listener, _ ...gracehttp.Option,
) error {
	m.Append(grace.Hook{OnDrain: srv.Shutdown})
	m.Go(func() error { return srv.Serve(ln) })
	return nil
}

// Servers that share a listener by cmux end without an error, after an upgrade and on SIGTERM,
// although the first of them closes the listener of all.
func TestCmuxEndsWithoutAnError(t *testing.T) {
	for _, x := range []muxed{muxedGRPC, muxedHTTP, muxedPlain} {
		t.Run(string(x), func(t *testing.T) {
			s := start(t, config{Mux: x, Busy: 10})
			askMux(t, x, s.plain, 10)
			s.awaitOf(1, "busy")
			s.Upgrade()
			s.awaitOf(1, "UpgradeFinished")
			s.awaitOf(1, "left")
			askMux(t, x, s.plain, 10)
			s.Signal(syscall.SIGTERM)
			s.AwaitCleanEnd()
			s.awaitOf(2, "left")
			for _, l := range s.Lines() {
				if l.What == "PartFailed" || strings.Contains(l.Err, "closed") {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}

// Clients of servers that share a listener by cmux notice no upgrade, even those that have just
// connected.
func TestCmuxClientsNoticeNoUpgrade(t *testing.T) {
	for _, x := range []muxed{muxedGRPC, muxedHTTP} {
		t.Run(string(x), func(t *testing.T) {
			s := start(t, config{Mux: x, Busy: 200})
			l := startLoad(t, s.plain)
			s.upgradeTenTimes()
			l.checkWith(s)
		})
	}
}

// askMux sends requests of all protocols.
func askMux(t *testing.T, x muxed, addr string, requests int) {
	t.Helper()
	c := &client{addr: addr, method: http.MethodGet, path: "/echo"}
	defer c.hangUp()
	for n := range requests {
		if err := c.ask(fmt.Sprint("request-", n)); err != nil {
			t.Error(err)
		}
	}
	if x != muxedGRPC {
		return
	}
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = pb.NewTestServiceClient(cc).UnaryCall(t.Context(), &pb.SimpleRequest{
		Payload: &pb.Payload{},
	})
	if err != nil {
		t.Error(err)
	}
}
