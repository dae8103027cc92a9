package httpload

import (
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that will happen.
const patience = 30 * time.Second

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("wait for %s", what)
		}
	}
}

// serve serves a handler on a socket of each kind.
func serve(t *testing.T, h http.Handler) (*http.Server, []Target) {
	t.Helper()
	dir, err := os.MkdirTemp("", "httpload") // the path of a unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key, trust, err := Certificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(func() { _ = srv.Close() })
	targets := []Target{listen(t, "tcp", "127.0.0.1:0", nil, srv.Serve), listen(t, "unix", filepath.Join(dir, "socket"), nil, srv.Serve)}
	return srv, append(targets, listen(t, "tcp", "127.0.0.1:0", trust, func(ln net.Listener) error { return srv.ServeTLS(ln, cert, key) }))
}

func listen(t *testing.T, network, addr string, trust *tls.Config, serve func(net.Listener) error) Target {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the listener
		defer close(ended)
		if err := serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-ended })
	return Target{Network: network, Addr: ln.Addr().String(), TLS: trust}
}

func start(t *testing.T, c Config) *Load {
	t.Helper()
	load, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { load.Stop() })
	return load
}

// All kinds of clients get the right answers from a good server, on a connection each if they want to.
func TestEveryKindOnEveryTarget(t *testing.T) {
	h := &Handler{File: filepath.Join(t.TempDir(), "file")}
	if err := WriteFile(h.File); err != nil {
		t.Fatal(err)
	}
	_, targets := serve(t, h)
	load := start(t, Config{Targets: targets, Idle: 10 * time.Millisecond, LongIdle: 20 * time.Millisecond, Delay: 10 * time.Millisecond, Stream: 3 * streamTick})
	until(t, "some requests of each kind", func() bool {
		seen := load.Result().Kinds
		return !slices.ContainsFunc(Kinds(), func(kind string) bool { return seen[kind].Requests < 5*len(targets) })
	})
	r := load.Stop()
	if r.Failed > 0 || r.Resent > 0 || r.Reconnects != (Reconnects{}) {
		t.Errorf("%d of %d requests have failed, %d were sent again; %+v: %v", r.Failed, r.Requests, r.Resent, r.Reconnects, r.Failures)
	}
	if handled := h.Handled(); handled != int64(r.Handled) || r.Handled == r.Requests {
		t.Errorf("%d of %d requests are for the Handler, and %d were handled",
			r.Handled, r.Requests, handled)
	}
	for kind, seen := range r.Kinds {
		dials := len(targets)
		switch {
		case kind == longIdle:
			dials-- // none with TLS
		case !kinds[kind].keeps():
			dials = seen.Requests
		}
		if seen.Dials != dials {
			t.Errorf("%s: %d connections for %d requests", kind, seen.Dials, seen.Requests)
		}
		if measured := seen.Latencies.Max() > 0; kind != "http2" && measured == kinds[kind].leisurely() {
			t.Errorf("%s: the latency is measured: %v", kind, measured)
		}
	}
	if l := r.Latencies; l.Quantile(0.5) > l.Quantile(0.99) || l.Quantile(0.99) > l.Max() || l.Max() > patience {
		t.Errorf("latencies %v, %v, %v", l.Quantile(0.5), l.Quantile(0.99), l.Max())
	}
	if again := load.Stop(); again.Requests != r.Requests || again.Failed != r.Failed {
		t.Errorf("later, there are %d requests", again.Requests)
	}
}

func TestConfigThatIsWrong(t *testing.T) {
	targets := []Target{{Network: "tcp", Addr: "127.0.0.1:1"}}
	for want, c := range map[string]Config{
		"there is no target":       {},
		`there is no kind "best"`:  {Targets: targets, Kinds: []string{"fresh", "best"}},
		`there is no kind "worst"`: {Targets: []Target{{Kinds: []string{"fresh", "worst"}}}},
		"has no LongIdle":          {Targets: targets, Kinds: []string{longIdle}},
		"-1 is negative":           {Targets: targets, Copies: -1},
		"-1ns is negative":         {Targets: targets, Patience: -1},
	} {
		if _, err := Start(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("instead of %q: %v", want, err)
		}
	}
	c, err := Config{Targets: targets}.complete()
	if err != nil || len(c.Kinds) != len(kinds)-1 || slices.Contains(c.Kinds, longIdle) || c.Patience != 30*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
}

// A target may be for some kinds only. If the service wraps its connections, that clients connect
// again does not count.
func TestTargetOfSomeKinds(t *testing.T) {
	_, targets := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		new(Handler).ServeHTTP(w, r)
	}))
	target := targets[0]
	target.Wrapped, target.Kinds = true, []string{"keep-alive", longIdle}
	load := start(t, Config{Targets: []Target{target}, LongIdle: time.Millisecond})
	until(t, "some requests", func() bool { return load.Result().Requests > 5 })
	r := load.Stop()
	if r.Failed > 0 || r.Dials != r.Requests || r.Reconnects != (Reconnects{}) {
		t.Errorf("%d requests, %d failed, %d connections, %+v",
			r.Requests, r.Failed, r.Dials, r.Reconnects)
	}
	if len(r.Kinds) != 1 || r.Kinds["keep-alive"].Requests == 0 {
		t.Errorf("the kinds are %v", slices.Collect(maps.Keys(r.Kinds)))
	}
}

// A load that nobody stops ends, and does not pass for a good one.
func TestLimit(t *testing.T) {
	_, targets := serve(t, &Handler{})
	load := start(t, Config{Targets: targets, Kinds: []string{"keep-alive"}, Limit: 10 * time.Millisecond})
	load.running.Wait()
	if r := load.Stop(); r.Failed != 1 || !strings.Contains(errors.Join(r.Failures...).Error(), "ended by itself after 10ms") {
		t.Errorf("%d have failed: %v", r.Failed, r.Failures)
	}
}

func TestLatencies(t *testing.T) {
	var empty, l, more Latencies
	if empty.Quantile(0.5) != 0 || empty.Max() != 0 {
		t.Error("an empty one is not")
	}
	for d := time.Duration(1); d <= 1000; d++ {
		l.add(d * time.Microsecond)
	}
	more.add(-1)
	more.add(time.Hour)
	l.join(&more)
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 500 * time.Microsecond, 0.99: 991 * time.Microsecond, 1: time.Hour} {
		if got := l.Quantile(q); got < want || got > want+want/steps {
			t.Errorf("of %v: %v, not %v", q, got, want)
		}
	}
	for d := time.Duration(1); d > 0; d *= 3 {
		if b := bucketOf(d); endOf(b) <= d || bucketOf(endOf(b)) != b+1 {
			t.Errorf("%v is in bucket %d, which ends at %v", d, b, endOf(b))
		}
	}
}
