//go:build linux

package e2e

import (
	"context"
	"embed"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
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

// upgrades are done in each test.
const upgrades = 10

// config configures the service that a test starts. Successors get the same.
type config struct {
	Mode      string
	Busy      int64  // a generation reports when it has answered so many requests
	Cert, Key string // files
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
	case gracehttp.DrainReport:
		s.Transferred = int64(e.Transferred)
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

// serve is the service: HTTP/1 and HTTP/2, with TLS and without.
func (c config) serve() error {
	m, err := grace.New(
		grace.WithObserver(graceevent.ObserverFunc(observe)), grace.WithMaxDraining(upgrades),
	)
	if err != nil {
		return err
	}
	h := &handler{generation: m.Status().Generation, busy: c.Busy}
	srv := &http.Server{Handler: h.mux(), ConnState: h.connState, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	ctx := context.Background()
	plain, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.WithName("plain"))
	if err != nil {
		return err
	}
	secure, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.WithName("tls"))
	if err != nil {
		return err
	}
	if err := c.start(m, srv, plain, secure); err != nil {
		return err
	}
	err = m.Run(ctx)
	say(said{
		What: "left", Generation: h.generation, Err: text(err),
		Requests: h.requests.Load(), Conns: h.conns.Load(),
	})
	return err
}

func (c config) start(m *grace.Manager, srv *http.Server, plain, secure net.Listener) error {
	if c.Mode == shutdownAlone {
		m.Append(grace.Hook{OnDrain: srv.Shutdown})
		go srv.Serve(plain)                    //nolint:errcheck // it serves until the drain
		go srv.ServeTLS(secure, c.Cert, c.Key) //nolint:errcheck // likewise
		return nil
	}
	if err := gracehttp.Start(m, srv, plain, modes[c.Mode]...); err != nil {
		return err
	}
	return gracehttp.StartTLS(m, srv, secure, c.Cert, c.Key)
}

// handler answers each request with what it was, and counts requests and connections.
type handler struct {
	generation      int
	busy            int64
	requests, conns atomic.Int64
}

func (h *handler) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		h.conns.Add(1)
	}
}

// testdata holds the page of the service and the configurations of the proxies.
//
//go:embed testdata
var testdata embed.FS

// large is how many times the answer of /large repeats the id of the request.
const large = 1 << 14

func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, 0) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		h.answer(w, r, 0)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, large) })
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, testdata, "testdata/page.html")
	})
	return mux
}

// answer is the answer of the service to a request.
type answer struct {
	ID, Method, Body string
	Generation, PID  int
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, ids int) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.FormValue("id")
	_ = json.NewEncoder(w).Encode(answer{ // a client that is gone needs no answer
		ID: id, Method: r.Method, Body: strings.Repeat(id, ids) + string(body),
		Generation: h.generation, PID: os.Getpid(),
	})
	if h.requests.Add(1) == h.busy {
		say(said{What: "busy", Generation: h.generation})
	}
}
