//go:build linux

package gracehttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/httpload"
)

// config is what a test tells the service that it starts. Successors get the same.
type config struct {
	Cert, Key string
	File      string // for httpload.Handler
	Plain     bool   // drain by http.Server.Shutdown alone
	Idle      bool   // hand idle connections over
	Bad       string // a file: once it exists, a listener of the next process does not accept
	Delay     time.Duration
	Timeout   time.Duration
}

const testGrace = 2 * time.Second // for idle connections

// said is a line of the service, for the test to read.
type said struct {
	What       string
	PID        int
	Generation int
	Addr       string `json:",omitempty"`
	Name       string `json:",omitempty"`
	Err        string `json:",omitempty"`
	Handled    int64  `json:",omitempty"`
	Requests   int    `json:",omitempty"`
	Closed     int    `json:",omitempty"`
	Passed     int    `json:",omitempty"`
	Cut        int    `json:",omitempty"`
	Goroutines int    `json:",omitempty"`
	Files      int    `json:",omitempty"`
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
	case grace.DrainFinished:
		s.Err = text(e.Err)
	case grace.Reported:
		switch report := e.Report.(type) {
		case DrainReport:
			s.Requests, s.Closed, s.Passed, s.Cut = report.Requests, report.Closed, report.Passed, report.Cut
		case IdleHandoverOff:
			s.Err = report.Err.Error()
		}
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

// serve is the service: HTTP/1 and HTTP/2, with and without TLS.
func (c config) serve() error {
	opts := []grace.Option{grace.WithObserver(grace.ObserverFunc(observe)), grace.WithMaxDraining(32)}
	if c.Timeout > 0 {
		opts = append(opts, grace.WithDrainTimeout(c.Timeout))
	}
	m, err := grace.New(opts...)
	if err != nil {
		return err
	}
	ctx := context.Background()
	plain, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.Name("plain"))
	if err != nil {
		return err
	}
	secure, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.Name("tls"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Bad); err == nil {
		secure = brokenListener{secure}
		m.Append(grace.Hook{OnReady: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	}
	h := &handler{m: m, load: httpload.Handler{File: c.File}}
	srv := &http.Server{Handler: h.mux(), ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	if c.Plain {
		m.Append(grace.Hook{OnDrain: srv.Shutdown})
		go srv.Serve(plain)                    //nolint:errcheck // it serves until the drain
		go srv.ServeTLS(secure, c.Cert, c.Key) //nolint:errcheck // likewise
	} else {
		opts := []Option{WithIdleGrace(testGrace), WithStopDelay(c.Delay)}
		if c.Idle {
			opts = append(opts, WithIdleHandover())
		}
		if err := Serve(m, srv, plain, opts...); err != nil {
			return err
		}
		if err := ServeTLS(m, srv, secure, c.Cert, c.Key); err != nil {
			return err
		}
	}
	err = m.Run(ctx)
	files, _ := os.ReadDir("/proc/self/fd")
	say(said{What: "left", Generation: m.Status().Generation, Handled: h.load.Handled(), Err: text(err), Goroutines: runtime.NumGoroutine(), Files: len(files)})
	return err
}

// brokenListener does not accept.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, fmt.Errorf("the network is broken") }

// handler answers clients of all kinds.
type handler struct {
	m    *grace.Manager
	load httpload.Handler
}

func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", &h.load)
	mux.HandleFunc("/events", h.events)
	mux.HandleFunc("/hijack", h.hijack)
	mux.Handle("/ready", Readiness(h.m))
	return mux
}

// events is a stream that ends when the drain begins.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "data: hello")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-Draining(r.Context()):
		fmt.Fprintf(w, "data: draining %v\n", r.Context().Err())
	case <-r.Context().Done():
	}
}

// hijack takes the connection, and answers lines until it drains and the client has said so.
func (h *handler) hijack(w http.ResponseWriter, r *http.Request) {
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	go func() { // ends with the connection
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
		<-Draining(r.Context())
		fmt.Fprintln(c, "draining")
		_, _ = buf.ReadString('\n')
		fmt.Fprintln(c, "bye")
	}()
}
