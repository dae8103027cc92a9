//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c" //nolint:staticcheck // it is deprecated, and services have it

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/gracegrpc"
	"github.com/go-grace/grace/gracehttp"
)

// handover is the mode in which connections continue in the successor.
const handover = "handover"

// modes are the ways in which gracehttp drains. Each test runs in all of them.
var modes = map[string][]gracehttp.Option{
	"polite": nil,
	handover: {gracehttp.WithIdleHandover()},
}

// shutdownAlone is the mode of a service without gracehttp, which shows what the tests can find.
const shutdownAlone = "http.Server.Shutdown"

// hijacking is the mode of a service whose handler serves HTTP/2 without TLS by itself.
const hijacking = "h2c.NewHandler"

// upgrades are done in each test.
const upgrades = 10

// config configures the service that a test starts. Successors get the same.
type config struct {
	Mode      string
	Busy      int64  // a generation reports when it has answered so many requests
	Cert, Key string // files

	WithoutH2C              bool          // whether it speaks no HTTP/2 without TLS
	IdleGrace, DrainTimeout time.Duration // if not zero

	Gateway *gatewayConfig // if it is not nil, the service is a gateway
	Mux     muxed          // if it is not "", the service has cmux
}

// said is a line that the service writes for the test.
type said struct {
	What        string
	Generation  int
	PID         int
	Name        string `json:",omitempty"`
	Addr        string `json:",omitempty"`
	Err         string `json:",omitempty"`
	Requests    int64  `json:",omitempty"`
	Conns       int64  `json:",omitempty"`
	Transferred int64  `json:",omitempty"`

	// of a drain
	Duration time.Duration `json:",omitempty"`
	Cut      int           `json:",omitempty"`
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
		s.Addr, s.Name = e.Addr.String(), e.Name
	case graceevent.ReadyFinished:
		s.Err = text(e.Err)
	case graceevent.UpgradeFinished:
		s.Err = text(e.Err)
	case graceevent.PartFailed:
		s.Err = text(e.Err)
	case gracehttp.DrainReport:
		s.Transferred = int64(e.Transferred)
		s.Duration, s.Cut = e.Duration, e.Cut
	case gracegrpc.DrainReport:
		s.What, s.Duration = "gRPC drained", e.Duration
	case graceevent.DrainFinished:
		s.Duration, s.Cut, s.Err = e.Duration, e.CutConnections(), text(e.Err)
	case gracehttp.HijackedHTTP2:
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
	m, err := grace.New(c.managerOptions()...)
	if err != nil {
		return err
	}
	h := &handler{generation: m.Status().Generation, busy: c.Busy}
	if err := c.starter()(m, h); err != nil {
		return err
	}
	err = m.Run(context.Background())
	say(said{
		What: "left", Generation: h.generation, Err: text(err),
		Requests: h.requests.Load(), Conns: h.conns.Load(),
	})
	return err
}

// starter returns the function that starts the servers.
func (c config) starter() func(*grace.Manager, *handler) error {
	switch {
	case c.Gateway != nil:
		return c.Gateway.start
	case c.Mux != "":
		return c.Mux.start
	}
	return c.listen
}

// listen starts a server of HTTP/1 and HTTP/2, with TLS and without.
func (c config) listen(m *grace.Manager, h *handler) error {
	proxy, err := h.proxy()
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: proxy, ConnState: h.connState, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(!c.WithoutH2C && c.Mode != hijacking)
	if c.Mode == hijacking {
		srv.Handler = h2c.NewHandler(srv.Handler, new(http2.Server)) //nolint:staticcheck // as above
	}
	ctx := context.Background()
	plain, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.WithName("plain"))
	if err != nil {
		return err
	}
	secure, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.WithName("tls"))
	if err != nil {
		return err
	}
	return c.start(m, srv, plain, secure)
}

func (c config) managerOptions() []grace.Option {
	opts := []grace.Option{
		grace.WithObserver(graceevent.ObserverFunc(observe)), grace.WithMaxDraining(upgrades),
	}
	if c.Gateway != nil {
		opts = append(opts, grace.WithStopDelay(c.Gateway.StopDelay))
	}
	if c.DrainTimeout > 0 {
		opts = append(opts, grace.WithDrainTimeout(c.DrainTimeout))
	}
	return opts
}

func (c config) start(m *grace.Manager, srv *http.Server, plain, secure net.Listener) error {
	if c.Mode == shutdownAlone {
		m.Append(grace.Hook{OnDrain: srv.Shutdown})
		go srv.Serve(plain)                    //nolint:errcheck // it serves until the drain
		go srv.ServeTLS(secure, c.Cert, c.Key) //nolint:errcheck // likewise
		return nil
	}
	opts := slices.Clone(modes[c.Mode])
	if c.IdleGrace > 0 {
		opts = append(opts, gracehttp.WithIdleGrace(c.IdleGrace))
	}
	if err := gracehttp.Start(m, srv, plain, opts...); err != nil {
		return err
	}
	return gracehttp.StartTLS(m, srv, secure, c.Cert, c.Key)
}
