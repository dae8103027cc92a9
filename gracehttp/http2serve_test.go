package gracehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// watched is a server that records what its owner sees of a connection.
type watched struct {
	*http.Server
	mu     sync.Mutex
	states []http.ConnState
	conn   net.Conn // of ConnContext
	other  net.Conn // of ConnState, if that is another one
}

type watchedKey struct{}

func newWatched() *watched {
	w := &watched{}
	protocols := http2Only()
	protocols.SetHTTP2(true)
	w.Server = &http.Server{
		Protocols: protocols,
		Handler:   http.HandlerFunc(w.describe),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.conn = nc
			return context.WithValue(ctx, watchedKey{}, "of the connection")
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = append(w.states, state)
			if nc != w.conn && state != http.StateNew { // which is before ConnContext
				w.other = nc
			}
		},
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), http.LocalAddrContextKey, "none")
		},
	}
	return w
}

// describe responds with what a handler sees.
func (w *watched) describe(rw http.ResponseWriter, r *http.Request) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	server := r.Context().Value(http.ServerContextKey)
	secure := r.TLS != nil && r.TLS.HandshakeComplete && r.TLS.NegotiatedProtocol == "h2"
	fmt.Fprintln(rw, r.Proto, r.URL.Path, r.Host, "TLS:", secure)
	fmt.Fprintln(rw, "server:", server == w.Server, "value:", r.Context().Value(watchedKey{}))
	fmt.Fprintln(rw, "local:", local != nil && local.String() == r.Host,
		"remote:", strings.HasPrefix(r.RemoteAddr, "127.0.0.1:"))
}

// The owner of a server sees the same of HTTP/2 as with http.Server alone.
func TestHTTP2IsSeenAsByNetHTTP(t *testing.T) {
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		secure bool
		conn   string
	}{"TLS": {true, "*tls.Conn"}, "plain": {false, "*net.TCPConn"}} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			w, m := newWatched(), managertest.New(t)
			url := "http://" + ln.Addr().String()
			if c.secure {
				url = "https://" + ln.Addr().String()
				err = StartTLS(m, w.Server, ln, cert, key)
			} else {
				err = Start(m, w.Server, ln)
			}
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{Protocols: w.Protocols, TLSClientConfig: trust.Clone()}
			defer transport.CloseIdleConnections()
			for range 2 {
				resp, err := (&http.Client{Transport: transport}).Get(url + "/path")
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				want := fmt.Sprintf("HTTP/2.0 /path %s TLS: %v\n", ln.Addr(), c.secure) +
					"server: true value: of the connection\nlocal: true remote: true\n"
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
				if err != nil || string(body) != want {
					t.Errorf("%q, %v, want %q", body, err, want)
				}
			}
			if err := m.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			states := slices.Compact(w.states) // net/http reports StateActive twice
			want := []http.ConnState{
				http.StateNew, http.StateActive, http.StateIdle, http.StateActive, http.StateIdle,
				http.StateActive, http.StateIdle, http.StateClosed,
			}
			if !slices.Equal(states, want) || fmt.Sprintf("%T", w.conn) != c.conn || w.other != nil {
				t.Errorf("%v of %T, %T", states, w.conn, w.other)
			}
		})
	}
}

// HTTP/2 that http.Server would not serve, or that its owner has configured, is left alone.
func TestHTTP2IsLeftToTheOwner(t *testing.T) {
	owned := map[string]nextProto{http2WithTLS: func(*http.Server, *tls.Conn, http.Handler) {}}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	for name, c := range map[string]struct {
		srv   *http.Server
		debug string
		taken bool
	}{
		"default":            {srv: &http.Server{}, taken: true},
		"without TLS":        {srv: &http.Server{Protocols: http2Only()}, taken: true},
		"HTTP/1":             {srv: &http.Server{Protocols: http1}},
		"an empty map":       {srv: &http.Server{TLSNextProto: map[string]nextProto{}}},
		"the owner's":        {srv: &http.Server{TLSNextProto: owned}},
		"off in environment": {srv: &http.Server{}, debug: "http2server=0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GODEBUG", c.debug)
			before := len(c.srv.TLSNextProto)
			s := newServer(managertest.New(t), c.srv)
			s.takeHTTP2(&net.TCPListener{}, false)
			if (s.http2 != nil) != c.taken || !c.taken && len(c.srv.TLSNextProto) != before {
				t.Errorf("it is ours: %v, %v", s.http2 != nil, c.srv.TLSNextProto)
			}
		})
	}
}

func shutDown(srv *http.Server) error { return srv.Shutdown(context.Background()) }

// An owner who ends the server ends HTTP/2 with it.
func TestHTTP2EndsWithTheServer(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*http.Server) error
		want string
	}{
		"Close":    {(*http.Server).Close, answer1 + ", the end"},
		"Shutdown": {shutDown, answer1 + ", GOAWAY 1, the end"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only()}
				r := newRig(t, srv)
				w := r.wire()
				w.ask(1, "/")
				synctest.Wait()
				if err := c.end(srv); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				w.expect(c.want)
				(<-r.drain()).check(t, 0, 0, 0, 0)
			})
		})
	}
}

// The time limit for the start of a connection does not limit its life.
func TestHTTP2OutlivesItsStart(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			srv := &http.Server{Handler: http.HandlerFunc(site), Protocols: http2Only()}
			srv.ReadHeaderTimeout = timeout
			r := newRig(t, srv)
			w := r.wire()
			time.Sleep(time.Minute)
			w.ask(1, "/")
			synctest.Wait()
			w.expect(answer1)
			(<-r.drain()).check(t, leaveTime, 0, 1, 0)
		})
	}
}

// A client that is silent after the TLS handshake is not kept forever.
func TestHTTP2WithoutPreface(t *testing.T) {
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, Listener: pipenet.Listen(), Manager: managertest.New(t)}
		if err := StartTLS(r.Manager, &http.Server{}, r.Listener, cert, key); err != nil {
			t.Fatal(err)
		}
		conn, err := r.Dial()
		if err != nil {
			t.Fatal(err)
		}
		trust := trust.Clone()
		trust.NextProtos, trust.ServerName = []string{"h2"}, "127.0.0.1"
		client, began := tls.Client(conn, trust), time.Now()
		if _, err := io.Copy(io.Discard, client); err != nil || time.Since(began) != prefaceTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := errors.Join(conn.Close(), r.Shutdown(t.Context())); err != nil {
			t.Error(err)
		}
	})
}
