//go:build linux

package gracehttp

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/httpload"
	"github.com/go-grace/grace/internal/test/managertest"
)

// records are what a drain tells the observers.
type records struct {
	reports  []DrainReport
	finished graceevent.DrainFinished
	onReport func() // called after each report; may be nil
}

func (r *records) Observe(_ context.Context, rec graceevent.Record) {
	switch e := rec.Event.(type) {
	case DrainReport:
		r.reports = append(r.reports, e)
		if r.onReport != nil {
			r.onReport()
		}
	case graceevent.DrainFinished:
		r.finished = e
	}
}

// check looks for connections that nobody, or more than one, has counted.
func (r *records) check(t *testing.T, cut, cutByManager int) {
	t.Helper()
	if len(r.reports) != 1 || r.reports[0].Cut != cut {
		t.Errorf("the reports are %+v", r.reports)
	}
	if n := r.finished.CutConnections(); n != cutByManager || r.finished.Err != nil {
		t.Errorf("the Manager counts %d: %+v", n, r.finished)
	}
}

// flood writes until the client reads no more, which blocks the goodbye of TLS as well.
func flood(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return
		}
	}
}

// holdHijacked takes the connection over, and keeps it until the client closes it.
func holdHijacked(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	_, _ = io.Copy(io.Discard, c)
}

// A connection that is cut is counted once, by this package: it is closed before the Manager looks
// at what is open.
func TestCutConnectionsAreCountedOnce(t *testing.T) {
	cert, key, trust, err := httpload.Certificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	trust.ServerName = "127.0.0.1"
	var seen records
	m := managertest.New(t, grace.WithObserver(&seen), grace.WithDrainTimeout(time.Second))
	plain, secure := listenTo(t, m), listenTo(t, m)
	mux := http.NewServeMux()
	mux.HandleFunc("/flood", flood)
	mux.HandleFunc("/hijack", holdHijacked)
	srv := &http.Server{Handler: mux}
	if err := Start(m, srv, plain); err != nil {
		t.Fatal(err)
	}
	if err := StartTLS(m, srv, secure, cert, key); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/flood", "/hijack"} {
		for _, c := range []*connection{
			dial(t, "tcp", plain.Addr().String()), dialTLS(t, secure.Addr().String(), trust),
		} {
			c.send("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n")
			if _, err := c.reader.ReadByte(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	seen.check(t, 4, 0)
}

func listenTo(t *testing.T, m *grace.Manager) net.Listener {
	t.Helper()
	ln, err := m.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dialTLS(t *testing.T, addr string, trust *tls.Config) *connection {
	t.Helper()
	c := dial(t, "tcp", addr)
	c.Conn = tls.Client(c.Conn, trust)
	c.reader.Reset(c.Conn)
	return c
}

// outliving takes the connection over and returns. In the drain the client is told to go, and the
// connection ends when the client has answered.
func outliving(w http.ResponseWriter, r *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	OnDrain(r.Context(), func() {
		_, _ = io.WriteString(c, "go\n")
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "bye")
		_ = c.Close()
	})
}

// A hijacked connection may outlive its handler, whatever its listener has put around it: the drain
// tells it, waits for it, and cuts and counts it at the deadline.
func TestHijackedConnectionOutlivesItsHandler(t *testing.T) {
	for name, wrap := range wrappers {
		for outcome, ends := range map[string]bool{"ends": true, "stays open": false} {
			t.Run(name+" "+outcome, func(t *testing.T) {
				t.Parallel()
				testOutliving(t, wrap, ends)
			})
		}
	}
}

func testOutliving(t *testing.T, wrap func(net.Conn) net.Conn, ends bool) {
	timeout, cut := patience, 0
	if !ends {
		timeout, cut = time.Second, 1
	}
	var seen records
	m := managertest.New(t, grace.WithObserver(&seen), grace.WithDrainTimeout(timeout))
	ln := listenTo(t, m)
	srv := &http.Server{Handler: http.HandlerFunc(outliving)}
	if err := Start(m, srv, wrappingListener{ln, wrap}, WithIdleGrace(0)); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := dial(t, "tcp", ln.Addr().String())
	c.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	if _, err := c.reader.Discard(len("HTTP/1.1 101 Switching Protocols\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- m.Shutdown(context.Background()) }()
	if line, err := c.reader.ReadString('\n'); line != "go\n" || err != nil {
		t.Errorf("its client is told %q, %v", line, err)
	}
	if ends {
		c.send("k")
	}
	if text, err := io.ReadAll(c.reader); ends && (string(text) != "bye" || err != nil) {
		t.Errorf("its client has read %q, %v", text, err)
	}
	if err := within(t, "end of the drain", stopped); err != nil {
		t.Error(err)
	}
	seen.check(t, cut, 0)
}
