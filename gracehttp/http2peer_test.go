package gracehttp

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// http2Wire is an HTTP/2 client under the control of a test, which may break the rules.
type http2Wire struct {
	t    *testing.T
	conn net.Conn
	tls  bool // it says so in its requests

	mu    sync.Mutex
	free  *sync.Cond // signals a change of stops
	stops bool       // it does not read
	mute  bool       // it does not answer PINGs
	stays bool       // it does not close the connection after the server has
	heard []string   // such as "DATA 1 end"
	ended bool       // the server has closed the connection
}

func (r *rig) wire() *http2Wire {
	r.t.Helper()
	conn, err := r.Dial()
	if err != nil {
		r.t.Fatal(err)
	}
	return newWire(r.t, conn)
}

func newWire(t *testing.T, conn net.Conn) *http2Wire {
	t.Helper()
	w := &http2Wire{t: t, conn: conn}
	w.free = sync.NewCond(&w.mu)
	w.send([]byte(http2Preface))
	w.send(appendFrame(nil, 4, 0, 0, "")) // SETTINGS
	t.Cleanup(func() { conn.Close() })
	go w.read() // ends with the connection
	return w
}

func (w *http2Wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.t.Errorf("%v; it has heard %q", err, w.heardSoFar())
	}
}

// ask sends a request.
func (w *http2Wire) ask(stream uint32, path string) {
	w.t.Helper()
	w.open(stream, path, endStreamFlag)
}

// open begins a request. The flag may end it.
func (w *http2Wire) open(stream uint32, path string, flag byte) {
	w.t.Helper()
	// The method and the scheme are in the static table, and the others are literals (RFC 7541,
	// appendix A and section 6.2.2).
	scheme := httpScheme
	if w.tls {
		scheme = httpsScheme
	}
	headers := "\x82" + scheme + literal(4, path) + literal(1, "test")
	w.send(appendFrame(nil, headersFrame, endHeadersFlag|flag, stream, headers))
}

// The values of :scheme in the static table.
const (
	httpScheme  = "\x86"
	httpsScheme = "\x87"
)

func literal(name byte, value string) string {
	return string([]byte{name, byte(len(value))}) + value
}

func (w *http2Wire) read() {
	defer w.end()
	var head [frameHeader]byte
	for {
		if _, err := io.ReadFull(w.conn, head[:]); err != nil {
			return
		}
		var f frame
		copy(f[:], head[:])
		payload := make([]byte, f.length())
		w.pause()
		if _, err := io.ReadFull(w.conn, payload); err != nil {
			return
		}
		w.hear(&f, payload)
	}
}

// pause waits while the client should not read.
func (w *http2Wire) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.stops {
		w.free.Wait()
	}
}

func (w *http2Wire) setStops(stops bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stops = stops
	w.free.Broadcast()
}

func (w *http2Wire) setMute() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = true
}

func (w *http2Wire) setStays() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stays = true
}

func (w *http2Wire) hear(f *frame, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f.kind() {
	case headersFrame:
		w.heard = append(w.heard, fmt.Sprint("HEADERS ", f.stream()))
	case dataFrame:
		if f.has(endStreamFlag) {
			w.heard = append(w.heard, fmt.Sprint("DATA ", f.stream(), " end"))
		}
	case pushPromiseFrame: // after the stream are the method and the scheme
		w.heard = append(w.heard, fmt.Sprintf("PUSH %d %x", streamID(payload), payload[4:6]))
	case resetFrame:
		w.heard = append(w.heard, fmt.Sprint("RESET ", f.stream()))
	case goAwayFrame:
		w.heard = append(w.heard, fmt.Sprintf("GOAWAY %d", streamID(payload)))
	case pingFrame:
		if f.has(ackFlag) {
			return
		}
		w.heard = append(w.heard, "PING")
		if !w.mute {
			answer := appendFrame(nil, pingFrame, ackFlag, 0, string(payload))
			go w.conn.Write(answer) //nolint:errcheck // ends with the connection
		}
	}
}

func (w *http2Wire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if !w.stays {
		_ = w.conn.Close()
	}
}

func (w *http2Wire) heardSoFar() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := strings.Join(w.heard, ", ")
	if w.ended {
		heard += ", the end"
	}
	return heard
}

// expect compares everything that the client has heard so far.
func (w *http2Wire) expect(want string) {
	w.t.Helper()
	if got := w.heardSoFar(); got != want {
		w.t.Errorf("it has heard %q, want %q", got, want)
	}
}
