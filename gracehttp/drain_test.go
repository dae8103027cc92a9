package gracehttp

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/internal/test/pipenet"
)

func TestDrainWithoutConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{Handler: http.HandlerFunc(site)})
		(<-r.drain()).check(t, 0, 0, 0, 0)
		if _, err := r.Dial(); err == nil {
			t.Error("a drained server accepts")
		}
	})
}

// An idle connection and a new one may each bring a request until the grace period is over. The
// response is the last one.
func TestIdleConnectionsGetAGrace(t *testing.T) {
	for _, grace := range []time.Duration{DefaultIdleGrace, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, &http.Server{Handler: http.HandlerFunc(site)}, WithIdleGrace(grace))
			idle, used, fresh, silent := r.connect(), r.connect(), r.connect(), r.connect()
			for _, c := range []*connection{idle, used} {
				if _, last := c.get("/"); last {
					t.Error("Connection: close before the drain")
				}
			}
			time.Sleep(time.Minute)
			result := r.drain()
			time.Sleep(grace - time.Millisecond)
			for _, c := range []*connection{used, fresh} {
				if body, last := c.get("/"); body != "hello" || !last {
					t.Errorf("%q, last: %v", body, last)
				}
				c.end()
			}
			idle.end()
			silent.end()
			(<-result).check(t, grace, 2, 4, 0)
		})
	}
}

// A request that began before the drain is answered. Its response says that it is the last one, if
// it has not begun yet. Otherwise the connection has the grace period after it.
func TestRequestOverTheBeginOfTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{Handler: http.HandlerFunc(site)})
		c, other := r.connect(), r.connect()
		time.AfterFunc(time.Second, func() { _ = r.Shutdown(context.Background()) })
		go func() {
			if body, last := other.get("/2s"); body != "hello" || !last {
				t.Errorf("%q, last: %v", body, last)
			}
			other.end()
		}()
		if body, last := c.get("/10s?flush"); body != "hello" || last {
			t.Errorf("%q, last: %v", body, last)
		}
		time.Sleep(4 * time.Second)
		if body, last := c.get("/"); body != "hello" || !last {
			t.Errorf("%q, last: %v", body, last)
		}
		c.end()
		(<-r.drain()).check(t, 0, 3, 2, 0) // waits for the drain that is under way
		if took := r.reports[0].Duration; took < 13*time.Second || took > 13*time.Second+2*maxPoll {
			t.Errorf("the drain took %v", took)
		}
	})
}

// Connections that are open at the deadline are cut, even if a handler does not return.
func TestDrainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stubborn" {
				<-over
			}
			<-r.Context().Done()
		})}
		shutdown := make(chan time.Time, 1)
		srv.RegisterOnShutdown(func() { shutdown <- time.Now() })
		r := newRig(t, srv)
		for _, path := range []string{"/", "/stubborn"} {
			c := r.connect()
			request := "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n"
			go io.WriteString(c, request) //nolint:errcheck // the report shows it
		}
		synctest.Wait()
		began := time.Now()
		d := <-r.drain()
		d.check(t, grace.DefaultDrainTimeout, 0, 0, 2)
		if level, message, _ := d.Describe(); level != slog.LevelWarn {
			t.Errorf("%q is logged at level %v", message, level)
		}
		if at := (<-shutdown).Sub(began); at < 27*time.Second || at > 27*time.Second+maxPoll {
			t.Errorf("functions of RegisterOnShutdown ran after %v", at)
		}
		close(over)
	})
}

// The servers of a Manager drain side by side, in whatever order they were started.
func TestServersDrainSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{Handler: http.HandlerFunc(site)}, WithIdleGrace(0))
		others := []*rig{r}
		for range 2 {
			other := &rig{t: t, Manager: r.Manager, Listener: pipenet.Listen()}
			srv := &http.Server{Handler: http.HandlerFunc(site)}
			if err := Start(r.Manager, srv, other.Listener, WithIdleGrace(0)); err != nil {
				t.Fatal(err)
			}
			others = append(others, other)
		}
		for _, o := range others {
			c := o.connect()
			go func() { _, _ = c.get("/20s"); c.end() }()
		}
		synctest.Wait()
		result := r.drain()
		synctest.Wait()
		for i, o := range others {
			if _, err := o.Dial(); err == nil {
				t.Errorf("server %d accepts while others drain", i+1)
			}
		}
		(<-result).check(t, 20*time.Second, 1, 1, 0)
		if len(r.reports) != 3 {
			t.Errorf("%d reports", len(r.reports))
		}
	})
}

// Before a stop without a successor the server keeps serving for a while, and health checks learn
// that it will stop.
func TestStopDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 7 * time.Second
		var ready http.Handler
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ready.ServeHTTP(w, r)
		})}
		with := []grace.Option{grace.WithStopDelay(delay)}
		r := newRigWith(t, with, srv, WithIdleGrace(time.Second))
		ready = Readiness(r.Manager)
		first := r.connect()
		if body, _ := first.get("/ready"); body != "ready\n" {
			t.Errorf("%q before the stop", body)
		}
		result := r.drain()
		time.Sleep(delay - time.Millisecond)
		if body, last := r.connect().get("/ready"); body != "not ready\n" || last {
			t.Errorf("%q during the delay, last: %v", body, last)
		}
		time.Sleep(2 * time.Millisecond)
		if _, err := r.Dial(); err == nil {
			t.Error("the server accepts after the delay")
		}
		if body, last := first.get("/ready"); body != "not ready\n" || !last {
			t.Errorf("%q in the drain, last: %v", body, last)
		}
		d := <-result
		if d.Duration > time.Second+4*maxPoll {
			t.Errorf("the drain itself took %v", d.Duration)
		}
		d.check(t, delay+time.Second, 1, 2, 0)
	})
}

// A handler learns of the drain, and its request is not cancelled.
func TestDrainingTellsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-Draining(r.Context())
			_, _ = io.WriteString(w, "draining")
			if r.Context().Err() != nil {
				t.Error("the request is cancelled")
			}
		})}
		r := newRig(t, srv, WithIdleGrace(0))
		c := r.connect()
		results := make(chan (<-chan drained), 1)
		time.AfterFunc(time.Hour, func() { results <- r.drain() })
		if body, _ := c.get("/"); body != "draining" {
			t.Errorf("%q", body)
		}
		c.end()
		(<-<-results).check(t, 0, 1, 1, 0)
		if Draining(t.Context()) != nil {
			t.Error("a context without a server has a drain")
		}
	})
}

// Functions of OnDrain are called once, unless they were stopped.
func TestOnDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called := make(chan string, 10)
		var stop, late func() bool
		var ctx context.Context
		srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx = r.Context()
			stop = OnDrain(ctx, func() { called <- "stopped" })
			late = OnDrain(context.WithoutCancel(ctx), func() { called <- "kept" })
			OnDrain(t.Context(), func() { called <- "without a server" })
		})}
		r := newRig(t, srv, WithIdleGrace(0))
		c := r.connect()
		c.get("/")
		if !stop() || stop() {
			t.Error("a function cannot be stopped before its call, or can be twice")
		}
		if OnDrain(t.Context(), nil)() {
			t.Error("a context without a server has a drain")
		}
		result := r.drain()
		synctest.Wait()
		OnDrain(ctx, func() { called <- "at once" })
		synctest.Wait()
		if late() {
			t.Error("a function can be stopped after its call")
		}
		c.end()
		(<-result).check(t, 0, 0, 1, 0)
		close(called)
		var got []string
		for name := range called {
			got = append(got, name)
		}
		if !slices.Equal(got, []string{"kept", "at once"}) {
			t.Errorf("called: %q", got)
		}
	})
}

// A function of OnDrain that panics is no more to the process than a handler that does.
func TestOnDrainThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		values := []any{"boom", http.ErrAbortHandler}
		srv := &http.Server{ErrorLog: log.New(&logged, "", 0)}
		srv.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for _, v := range values {
				OnDrain(r.Context(), func() { panic(v) })
			}
		})
		r := newRig(t, srv, WithIdleGrace(0))
		c := r.connect()
		c.get("/")
		result := r.drain()
		synctest.Wait()
		c.end()
		(<-result).check(t, 0, 0, 1, 0)
		if text := logged.String(); strings.Count(text, "gracehttp: panic in a function of OnDrain: boom\n") != 1 ||
			!strings.Contains(text, "drain_test.go") || strings.Contains(text, "abort") {
			t.Errorf("logged %q", text)
		}
	})
}

// The functions of the owner are still called.
func TestOwnersFunctionsAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		states := make(chan http.ConnState, 10)
		srv := &http.Server{
			ConnState: func(_ net.Conn, s http.ConnState) { states <- s },
			ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
				return context.WithValue(ctx, key{}, "value")
			},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Context().Value(key{}).(string))
			}),
		}
		r := newRig(t, srv)
		c := r.connect()
		if body, _ := c.get("/"); body != "value" {
			t.Errorf("%q", body)
		}
		result := r.drain()
		c.end()
		(<-result).check(t, DefaultIdleGrace, 0, 1, 0)
		close(states)
		var got []http.ConnState
		for s := range states {
			got = append(got, s)
		}
		if len(got) != 4 || got[0] != http.StateNew || got[3] != http.StateClosed {
			t.Errorf("states %v", got)
		}
	})
}

// A server without a handler uses that of package http.
func TestHandlerOfPackageHTTP(t *testing.T) {
	mux := http.DefaultServeMux
	defer func() { http.DefaultServeMux = mux }()
	http.DefaultServeMux = http.NewServeMux()
	http.HandleFunc("/gracehttp", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "default")
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &http.Server{})
		c := r.connect()
		if body, _ := c.get("/gracehttp"); body != "default" {
			t.Errorf("%q", body)
		}
		result := r.drain()
		synctest.Wait()
		if _, last := c.get("/gracehttp"); !last {
			t.Error("the next response is not the last one")
		}
		c.end()
		(<-result).check(t, 0, 1, 1, 0)
	})
}

// If a request arrives before its connection is interrupted, the rest of it is read too.
func TestInterruptionIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for timeout, ends := range map[time.Duration]bool{0: false, time.Minute: true} {
			ours, theirs := net.Pipe()
			c := &conn{Conn: theirs, state: http.StateIdle}
			c.drain(0, time.Time{})
			if _, err := theirs.Read(make([]byte, 1)); err == nil {
				t.Fatal("the read is not interrupted")
			}
			c.enter(http.StateActive, timeout)
			time.AfterFunc(time.Hour, func() { _, _ = ours.Write([]byte("x")) })
			if _, err := theirs.Read(make([]byte, 1)); (err != nil) != ends {
				t.Errorf("with a timeout of %v: %v", timeout, err)
			}
			_, _ = ours.Close(), theirs.Close()
		}
		time.Sleep(time.Hour)
	})
}

// The drain waits for a hijacked connection until its handler returns, if nothing else shows its
// end.
func TestHijackedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			<-Draining(r.Context())
			time.Sleep(8 * time.Second)
			_, _ = io.WriteString(c, "bye")
		})}
		r := newRig(t, srv)
		c := r.connect()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		result := r.drain()
		if rest, err := io.ReadAll(c); string(rest) != "bye" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		(<-result).check(t, 8*time.Second, 1, 1, 0)
	})
}
