package gracehttp

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"
)

// response decides whether a response is the last one on its connection. It does so as late as
// possible, when the handler has decided on the header: a handler may take its time, and may
// switch to another protocol or not.
type response struct {
	inner   http.ResponseWriter // of net/http
	request *http.Request
	server  *server
	conn    *conn
	decided bool
}

func (w *response) isHTTP1() bool { return w.request.ProtoMajor == 1 }

// The methods of the types of net/http. Those of one protocol are not those of the other one, and
// handlers find out the protocol by them.
type (
	anyWriter interface {
		http.ResponseWriter
		io.StringWriter
		FlushError() error
		CloseNotify() <-chan bool
		SetReadDeadline(time.Time) error
		SetWriteDeadline(time.Time) error
		EnableFullDuplex() error
	}
	http1Writer interface {
		anyWriter
		io.ReaderFrom
		http.Hijacker
	}
	http2Writer interface {
		anyWriter
		http.Pusher
	}
)

// http1Response has the methods of an http1Writer, except where response replaces them.
type http1Response struct {
	response
	http1Methods
}

// http2Response has those of an http2Writer.
type http2Response struct {
	response
	http2Methods
}

// These are one level deeper than response, so the methods of response win.
type (
	http1Methods struct{ http1Writer }
	http2Methods struct{ http2Writer }
)

// newResponse returns a ResponseWriter with the same methods as w, and its response.
func (s *server) newResponse(
	w http.ResponseWriter, r *http.Request, c *conn,
) (http.ResponseWriter, *response) {
	own := response{inner: w, request: r, server: s, conn: c}
	switch w := w.(type) {
	case http1Writer:
		out := &http1Response{own, http1Methods{w}}
		return out, &out.response
	case http2Writer:
		out := &http2Response{own, http2Methods{w}}
		return out, &out.response
	}
	out := new(response) // an http.ResponseController finds the other methods by Unwrap
	*out = own
	return out, out
}

// Unwrap returns the ResponseWriter of net/http for an [http.ResponseController]. A handler that
// unwraps to the bottom may send the header past us. So the decision is taken now too: a change of
// the protocol sets another Connection, and what comes by us is still decided later.
func (w *response) Unwrap() http.ResponseWriter {
	if !w.decided && w.isLast() {
		w.announce()
	}
	return w.inner
}

func (w *response) Header() http.Header { return w.inner.Header() }

// WriteHeader sends a header. Only the final one may say that the connection closes: some clients
// give up when an interim one does. 101 is final, and has a Connection header of its own.
func (w *response) WriteHeader(code int) {
	if code >= 100 && code < 200 && code != http.StatusSwitchingProtocols {
		w.writeInterim(code)
		return
	}
	w.decide(code)
	w.inner.WriteHeader(code)
}

func (w *response) writeInterim(code int) {
	h := w.Header()
	removed := removeConnection(h)
	w.inner.WriteHeader(code)
	maps.Copy(h, removed)
}

// removeConnection removes the header Connection, in any spelling, and returns it.
func removeConnection(h http.Header) (removed http.Header) {
	for name, values := range h {
		if strings.EqualFold(name, "Connection") {
			if removed == nil {
				removed = make(http.Header)
			}
			removed[name] = values
			delete(h, name)
		}
	}
	return removed
}

func (w *response) Write(b []byte) (int, error) {
	w.decide(http.StatusOK)
	return w.inner.Write(b)
}

func (w *response) WriteString(s string) (int, error) {
	w.decide(http.StatusOK)
	return io.WriteString(w.inner, s)
}

func (w *response) Flush() { _ = w.FlushError() } // as in net/http

func (w *response) FlushError() error {
	w.decide(http.StatusOK)
	return http.NewResponseController(w.inner).Flush()
}

// ReadFrom leads to sendfile(2).
func (w *http1Response) ReadFrom(r io.Reader) (int64, error) {
	w.decide(http.StatusOK)
	return w.http1Writer.ReadFrom(r)
}

// decide is called before the final header is written. If the response is the last one on its
// connection, it says so, whatever the handler has set. In HTTP/2 that sends a GOAWAY.
func (w *response) decide(code int) {
	if w.decided {
		return
	}
	w.decided = true
	switch {
	case code == http.StatusSwitchingProtocols:
	case w.isLast():
		w.announce()
	case code == http.StatusRequestEntityTooLarge && w.isHTTP1():
		// http.MaxBytesReader would have told net/http to close the connection, but does not know
		// this type.
		w.sayClose()
	}
}

func (w *response) isLast() bool { return w.server.isDraining() && w.server.closes(w.conn) }

func (w *response) announce() {
	if w.isHTTP1() {
		w.conn.stayOpen()
	}
	w.sayClose()
}

func (w *response) sayClose() {
	h := w.Header()
	removeConnection(h)
	h.Set("Connection", "close")
}

// Hijack returns the connection as its listener has returned it.
func (w *http1Response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, buffered, err := w.http1Writer.Hijack()
	if err != nil {
		return nil, nil, err
	}
	if asksForHTTP2(w.request) {
		w.server.reportHijackedHTTP2()
	}
	return unboxed(nc), buffered, nil
}

// asksForHTTP2 reports whether a request of HTTP/1 is the preface of HTTP/2, or would change to
// that (RFC 7540, section 3.2, which is obsolete).
func asksForHTTP2(r *http.Request) bool {
	return r.Method == "PRI" || namesH2C(r.Header.Get("Upgrade"))
}

func namesH2C(protocols string) bool {
	for name := range strings.SplitSeq(protocols, ",") {
		if strings.EqualFold(strings.TrimSpace(name), "h2c") {
			return true
		}
	}
	return false
}

func (s *server) reportHijackedHTTP2() {
	s.hijackedHTTP2.Do(func() {
		s.m.Emit(context.Background(), HijackedHTTP2{Server: s.Server})
	})
}

// Push gives the path of a pushed request the scheme of the connection: below TLS, net/http takes
// it for one without.
func (w *http2Response) Push(target string, opts *http.PushOptions) error {
	if w.conn.isFollowedTLS() && strings.HasPrefix(target, "/") {
		target = "https://" + w.request.Host + target
	}
	return w.http2Writer.Push(target, opts)
}
