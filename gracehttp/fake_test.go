package gracehttp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-grace/grace"
	"github.com/go-grace/grace/graceevent"
	"github.com/go-grace/grace/internal/test/managertest"
	"github.com/go-grace/grace/internal/test/pipenet"
)

// rig is a server in fake time.
type rig struct {
	t *testing.T
	*grace.Manager
	*pipenet.Listener

	mu      sync.Mutex
	reports []DrainReport
}

// newRig starts the server, and makes the Manager ready.
func newRig(t *testing.T, srv *http.Server, opts ...Option) *rig {
	t.Helper()
	return newRigWith(t, nil, srv, opts...)
}

// newRigWith is newRig for a Manager with options.
func newRigWith(t *testing.T, with []grace.Option, srv *http.Server, opts ...Option) *rig {
	t.Helper()
	r := &rig{t: t, Listener: pipenet.Listen()}
	r.Manager = managertest.New(t, append(with, grace.WithObserver(r))...)
	if err := Start(r.Manager, srv, r.Listener, opts...); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// listen opens a socket on the loopback interface.
func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// shortDir returns a directory whose path is short enough for the path of a unix socket in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "http")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // it is temporary
	return dir
}

func (r *rig) Observe(_ context.Context, rec graceevent.Record) {
	if e, ok := rec.Event.(DrainReport); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, e)
	}
}

// drain shuts the Manager down, and returns the outcome.
func (r *rig) drain() <-chan drained {
	result := make(chan drained, 1)
	go func() { // ends with the drain
		began := time.Now()
		err := r.Shutdown(context.Background())
		r.mu.Lock()
		defer r.mu.Unlock()
		result <- drained{DrainReport: r.reports[0], took: time.Since(began), err: err}
	}()
	return result
}

type drained struct {
	DrainReport
	took time.Duration
	err  error
}

// check compares the outcome with the expected one, in which no error is. The drain may take a
// little longer, because it polls.
func (d drained) check(t *testing.T, took time.Duration, requests, closed, cut int) {
	t.Helper()
	onTime := d.took >= took && d.took <= took+4*maxPoll
	counted := d.Requests == requests && d.Closed == closed && d.Cut == cut
	if !onTime || !counted || d.err != nil {
		t.Errorf("the drain took %v: %+v, %v", d.took, d.DrainReport, d.err)
	}
}

// connection is a connection of a client.
type connection struct {
	t testing.TB
	net.Conn
	reader *bufio.Reader
}

func (r *rig) connect() *connection {
	r.t.Helper()
	c, err := r.Dial()
	if err != nil {
		r.t.Fatal(err)
	}
	return &connection{t: r.t, Conn: c, reader: bufio.NewReader(c)}
}

// get requests a path. It reports whether the server will close the connection.
func (c *connection) get(path string) (body string, last bool) {
	c.t.Helper()
	body, last, err := c.tryGet(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return body, last
}

// tryGet is get for goroutines other than that of the test.
func (c *connection) tryGet(path string) (body string, last bool, err error) {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		return "", false, err
	}
	return c.tryRead()
}

func (c *connection) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *connection) read() (body string, last bool) {
	c.t.Helper()
	body, last, err := c.tryRead()
	if err != nil {
		c.t.Fatal(err)
	}
	return body, last
}

func (c *connection) tryRead() (body string, last bool, err error) {
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return "", false, err
	}
	text, err := io.ReadAll(resp.Body)
	return string(text), resp.Close, errors.Join(err, resp.Body.Close())
}

// end waits until the server has closed the connection.
func (c *connection) end() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.reader); err != nil || len(rest) > 0 {
		c.t.Errorf("%q and %v instead of the end", rest, err)
	}
	_ = c.Close()
}

// site responds after the time in the path.
func site(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery == "flush" {
		_ = http.NewResponseController(w).Flush()
	}
	if d, err := time.ParseDuration(r.URL.Path[1:]); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	_, _ = io.WriteString(w, "hello")
}
