//go:build linux

package gracehttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/servicetest"
)

// config configures the service that a test starts. Successors get the same.
type config struct {
	Cert, Key string
	File      string // for httpload.Handler
	Unix      string // a path
	Bad       bool   // a listener does not accept
	Plain     bool   // drain by http.Server.Shutdown alone
	Idle      bool   // hand idle connections over
	Conns     int    // idle connections, of a benchmark
	Bare      bool   // be a process of passBare
	Tune      bool   // change the sockets of connections, in the first process
	Next      string // a file that changes the next process: to "bad", "plain" or one of unable
	Hold      string // a file: while it exists, another OnDrain hook does not return
	Grace     time.Duration
	Delay     time.Duration // of a stop
	Timeout   time.Duration
	IdleTime  time.Duration
}

const testGrace = 2 * time.Second // the grace period, unless a test sets another one

// said is a line that the service writes for the test.
type said struct {
	What        string
	PID         int
	Generation  int
	Addr        string        `json:",omitempty"`
	Name        string        `json:",omitempty"`
	Err         string        `json:",omitempty"`
	Handled     int64         `json:",omitempty"`
	Requests    int           `json:",omitempty"`
	Closed      int           `json:",omitempty"`
	Transferred int           `json:",omitempty"`
	Duration    time.Duration `json:",omitempty"`
	CPU         time.Duration `json:",omitempty"`
	Cut         int           `json:",omitempty"`
	Goroutines  int           `json:",omitempty"` // of package gracehttp
	Files       int           `json:",omitempty"`
	Sockets     int           `json:",omitempty"`
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
	case graceevent.DrainFinished:
		s.Err, s.Cut = text(e.Err), e.CutConnections()
	case DrainReport:
		s.Requests, s.Closed = e.Requests, e.Closed
		s.Transferred, s.Cut = e.Transferred, e.Cut
	case IdleHandoverOff:
		s.Err = e.Err.Error()
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

// serve is the service: HTTP/1 and HTTP/2, with and without TLS, and over a unix socket.
func (c config) serve() error {
	if c.Bare {
		return c.serveBare()
	}
	next, err := os.ReadFile(c.Next)
	if err == nil {
		c.Bad, c.Plain = string(next) == "bad", string(next) == "plain"
	}
	opts := []grace.Option{
		grace.WithObserver(graceevent.ObserverFunc(observe)), grace.WithMaxDraining(32),
		grace.WithStopDelay(c.Delay),
	}
	if c.Timeout > 0 {
		opts = append(opts, grace.WithDrainTimeout(c.Timeout))
	}
	m, err := grace.New(opts...)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if run := unable[string(next)]; run != nil {
		return run(ctx, m)
	}
	plain, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.WithName("plain"))
	if err != nil {
		return err
	}
	secure, err := m.Listen(ctx, "tcp", "127.0.0.1:0", grace.WithName("tls"))
	if err != nil {
		return err
	}
	local, err := m.Listen(ctx, "unix", c.Unix, grace.WithName("unix"))
	if err != nil {
		return err
	}
	if c.Bad {
		secure = brokenListener{secure}
		m.Append(grace.Hook{OnReady: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	}
	h := &handler{
		m: m, load: httpload.Handler{File: c.File, Draining: Draining, OnDrain: OnDrain},
	}
	srv := c.server(h)
	if err := c.start(m, srv, plain, secure, local); err != nil {
		return err
	}
	if c.Conns > 0 {
		m.Append(grace.Hook{OnDrain: c.noteHandover(m, serverOf(m, srv))})
	}
	m.Append(grace.Hook{Name: "hold", OnDrain: c.hold})
	err = m.Run(ctx)
	left := census(err == nil)
	left.What, left.Err = "left", text(err)
	left.Generation, left.Handled = m.Status().Generation, h.load.Handled()
	say(left)
	return err
}

const badAddr = "192.0.2.1:1" // TEST-NET-1: nobody can listen there

// unable are services that cannot start, by the reason.
var unable = map[string]func(context.Context, *grace.Manager) error{
	"no address": func(ctx context.Context, m *grace.Manager) error {
		return ListenAndServe(ctx, m, &http.Server{Addr: badAddr})
	},
	"no certificate": func(ctx context.Context, m *grace.Manager) error {
		return ListenAndServeTLS(ctx, m, &http.Server{Addr: "127.0.0.1:0"}, "none", "none")
	},
}

func (c config) server(h *handler) *http.Server {
	srv := &http.Server{
		Handler:           h.mux(),
		ReadHeaderTimeout: patience,
		IdleTimeout:       c.IdleTime,
		Protocols:         new(http.Protocols),
		ErrorLog:          log.New(logger{}, "", 0),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if c.Tune && h.m.Status().Generation == 1 {
				tune(nc)
			}
			return context.WithValue(ctx, connKey{}, nc)
		},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

func (c config) start(m *grace.Manager, srv *http.Server, plain, secure, local net.Listener) error {
	if c.Plain {
		m.Append(grace.Hook{OnDrain: srv.Shutdown})
		go srv.Serve(plain)                    //nolint:errcheck // it serves until the drain
		go srv.Serve(local)                    //nolint:errcheck // likewise
		go srv.ServeTLS(secure, c.Cert, c.Key) //nolint:errcheck // likewise
		return nil
	}
	opts := []Option{WithIdleGrace(cmp.Or(c.Grace, testGrace))}
	if c.Idle {
		opts = append(opts, WithIdleHandover())
	}
	return errors.Join(
		Start(m, srv, plain, opts...),
		Start(m, srv, local),
		StartTLS(m, srv, secure, c.Cert, c.Key),
	)
}

// hold is the OnDrain hook of a slow part of the service.
func (c config) hold(ctx context.Context) error {
	for exists(c.Hold) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// logger reports the lines that a server logs.
type logger struct{}

func (logger) Write(line []byte) (int, error) {
	say(said{What: "log", Err: string(line)})
	return len(line), nil
}

// census counts the resources that are left. After a clean end, goroutines may still be about to
// end.
func census(clean bool) (left said) {
	left.Goroutines = ourGoroutines()
	for end := time.Now().Add(patience); clean && left.Goroutines > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		left.Goroutines = ourGoroutines()
	}
	for fd, what := range servicetest.Descriptors() {
		left.Files++
		if fd > 2 && strings.HasPrefix(what, "socket:") {
			left.Sockets++
		}
	}
	return left
}

// ourGoroutines counts the goroutines of this package and of net/http, except for its own.
func ourGoroutines() (n int) {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range strings.Split(string(stacks), "\n\n")[1:] {
		if strings.Contains(stack, "/gracehttp.") || strings.Contains(stack, "net/http.") {
			n++
		}
	}
	return n
}

// brokenListener does not accept.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("the network is broken") }
