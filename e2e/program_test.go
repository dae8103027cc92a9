//go:build linux

package e2e

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/gracehttp"
)

// handover is the mode in which connections go on in the successor.
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

// config is what a test tells the service that it starts. Successors get the same.
type config struct {
	Mode      string
	Busy      int64  // a generation tells when it has answered so many requests
	Cert, Key string // files
}

// said is a line of the service, for the test to read.
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

func observe(r grace.Record) {
	s := said{What: strings.TrimPrefix(fmt.Sprintf("%T", r.Event), "grace."), Generation: r.Generation}
	switch e := r.Event.(type) {
	case grace.SocketOpened:
		s.Addr, s.Name = e.Addr.String(), e.Name
	case grace.ReadyFinished:
		s.Err = text(e.Err)
	case grace.UpgradeFinished:
		s.Err = text(e.Err)
	case grace.Reported:
		report, _ := e.Report.(gracehttp.DrainReport)
		s.Transferred = int64(report.Transferred)
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
	m, err := grace.New(grace.WithObserver(grace.ObserverFunc(observe)), grace.WithMaxDraining(upgrades))
	if err != nil {
		return err
	}
	h := &handler{generation: m.Status().Generation, busy: c.Busy}
	srv := &http.Server{Handler: h.mux(), ConnState: h.connState, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	ctx := context.Background()
	plain, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.Name("plain"))
	if err != nil {
		return err
	}
	secure, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.Name("tls"))
	if err != nil {
		return err
	}
	if err := c.start(m, srv, plain, secure); err != nil {
		return err
	}
	err = m.Run(ctx)
	say(said{What: "left", Generation: h.generation, Requests: h.requests.Load(), Conns: h.conns.Load(), Err: text(err)})
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

// handler tells each request what it was, and counts.
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

// testdata has the page, for the service, and the configurations of the proxies.
//
//go:embed testdata
var testdata embed.FS

// large is how many times the answer of /large has the id of the request.
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

// answer is what the service says to a request.
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
	_ = json.NewEncoder(w).Encode(answer{ // a client that is gone cannot be told
		ID: id, Method: r.Method, Body: strings.Repeat(id, ids) + string(body), Generation: h.generation, PID: os.Getpid(),
	})
	if h.requests.Add(1) == h.busy {
		say(said{What: "busy", Generation: h.generation})
	}
}
