package gracehttp

import (
	"io"
	"maps"
	"math"
	"net"
	"sync"
	"time"
)

// http2Preface is the first thing that a client sends (RFC 9113, section 3.4).
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// http2Conn is an HTTP/2 connection between http.Server and the client. In the drain it ends the
// connection without refusing a request. The only GOAWAY of http.Server refuses the streams in
// flight: those are lost unless the client sends them again.
//
// A GOAWAY that refuses no stream, followed by a PING, tells the client to open no more streams.
// When the client has answered the PING, it knows (RFC 9113, section 6.8). A stream that it opened
// before may still be on its way: clients number streams before they write, and packets get lost.
// So if the client does not close the connection, it has to be quiet for a while. Then http2Conn
// closes one direction, and the client finds the end after the last response. It closes the other
// direction when the client has closed the connection, or has been silent for the grace period. If
// it did so earlier, anything that the client still sends would reset the connection, and the
// client might lose a part of the response.
//
// Some clients cannot deal with a GOAWAY that arrives during a response: curl 7.88 keeps using the
// connection, and that of the JDK fails requests. So the GOAWAY waits for a moment without streams,
// for the grace period at most.
type http2Conn struct {
	net.Conn
	conn     *conn
	draining func() bool   // whether the server drains
	closed   chan struct{} // closed when http.Server is done
	once     sync.Once     // closes closed

	received io.Reader // what http.Server reads: only one goroutine at a time does
	preface  int       // bytes of the preface that have not come yet
	in       frames

	writing    sync.Mutex // held during a write
	out        frames
	halfClosed bool  // nothing more is written
	broken     error // of a frame of ours of which only a part was written

	mu          sync.Mutex
	streams     map[uint32]side // the open ones, and which side has ended them
	last        uint32          // the last one that the client has opened; 0 if there is none
	refused     uint32          // http.Server has said that it ignores streams from here on
	announced   time.Time       // when it was decided to tell the client to open no more
	told        time.Time       // when the client was told
	delay       time.Duration   // from then to its answer; 0 if there is none
	active      time.Time       // of the last sign of life since announced
	settled     time.Time       // when, since then, the last stream ended or the client answered
	halfClosing bool            // one direction is closed, or about to be
	closing     bool            // the connection is closed, or about to be
}

// side says which side has ended a stream.
type side byte

const (
	byClient side = 1
	byServer side = 2
	byBoth        = byClient | byServer
)

// newHTTP2Conn returns an http2Conn for a connection on which http.Server has already read the
// first part of the preface.
func newHTTP2Conn(nc net.Conn, read io.Reader, draining func() bool) *http2Conn {
	return &http2Conn{
		Conn:     nc,
		draining: draining,
		closed:   make(chan struct{}),
		received: io.MultiReader(read, nc),
		preface:  len(http2Preface),
		streams:  make(map[uint32]side),
		refused:  math.MaxUint32,
	}
}

// Close closes the connection.
func (c *http2Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// Read follows the frames that the client sends.
func (c *http2Conn) Read(b []byte) (int, error) {
	n, err := c.received.Read(b)
	if n > 0 {
		c.noteLife()
	}
	c.in.follow(c.skipPreface(b[:n]), c.noteReceived)
	return n, err
}

// skipPreface returns the bytes after the preface.
func (c *http2Conn) skipPreface(b []byte) []byte {
	n := min(c.preface, len(b))
	c.preface -= n
	return b[n:]
}

// noteLife notes that something has arrived.
func (c *http2Conn) noteLife() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.announced.IsZero() {
		c.active = time.Now()
	}
}

func (c *http2Conn) noteReceived(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch id := f.stream(); f.kind() {
	case headersFrame:
		if id > c.last && id < c.refused { // otherwise they are trailers
			c.last = id
			c.streams[id] = 0
		}
		c.end(f, byClient)
	case dataFrame:
		c.end(f, byClient)
	case resetFrame:
		c.remove(id)
	case pingFrame:
		if !c.told.IsZero() && f.has(ackFlag) && string(f.payload()) == pingData {
			c.delay = max(time.Since(c.told), 1)
			c.settled = time.Now()
		}
	}
}

// Write follows the frames that http.Server sends. After the half-close it drops them.
func (c *http2Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	switch {
	case c.broken != nil:
		return 0, c.broken
	case c.halfClosed:
		c.out.follow(b, c.noteSent)
		return len(b), nil
	}
	n, err := c.Conn.Write(b)
	c.out.follow(b[:n], c.noteSent)
	if err == nil {
		c.tellNow()
	}
	return n, err
}

func (c *http2Conn) noteSent(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch id := f.stream(); f.kind() {
	case headersFrame, dataFrame:
		c.end(f, byServer)
	case resetFrame:
		c.remove(id)
	case pushPromiseFrame:
		c.streams[streamID(f.payload())] = byClient
	case goAwayFrame:
		c.refused = streamID(f.payload()) + 1
		maps.DeleteFunc(c.streams, func(id uint32, _ side) bool {
			return id%2 == 1 && id >= c.refused
		})
	}
}

// end notes the end of a stream on one side if the frame marks it. After the last response, a
// draining server tells the client to open no more streams; mu is held.
func (c *http2Conn) end(f *frame, by side) {
	ended, isOpen := c.streams[f.stream()]
	if !isOpen || !f.has(endStreamFlag) {
		return
	}
	c.streams[f.stream()] = ended | by
	if ended|by == byBoth {
		c.remove(f.stream())
	}
	if by == byServer && c.draining() {
		if len(c.streams) == 0 {
			c.announce()
		}
		c.active = time.Now()
	}
}

// remove notes that a stream is no longer open; mu is held.
func (c *http2Conn) remove(id uint32) {
	delete(c.streams, id)
	if !c.announced.IsZero() {
		c.settled = time.Now()
	}
}

// announce decides that the client is told to open no more streams; mu is held, and tell follows.
func (c *http2Conn) announce() {
	if c.announced.IsZero() {
		c.announced = time.Now()
		c.active = c.announced
	}
}

// tell sends the notice to the client as soon as nobody else writes.
func (c *http2Conn) tell() {
	c.writing.Lock() // until the end of the connection if the client does not read
	defer c.writing.Unlock()
	c.tellNow()
}

// tellNow sends the notice unless the last frame is incomplete: then Write sends it later; writing
// is held.
func (c *http2Conn) tellNow() {
	if c.halfClosed || c.broken != nil || !c.out.isBetween() || !endsBlock(&c.out.frame) {
		return
	}
	if notice := c.notice(); notice != nil {
		_, c.broken = c.Conn.Write(notice)
	}
}

// endsBlock reports whether frames of other kinds may follow f: they may not come between HEADERS
// and CONTINUATION (RFC 9113, section 4.3).
func endsBlock(f *frame) bool {
	switch f.kind() {
	case headersFrame, pushPromiseFrame, continuationFrame:
		return f.has(endHeadersFlag)
	}
	return true
}

// notice returns the frames that tell the client to open no more streams, or nil if there is
// nothing to tell it.
func (c *http2Conn) notice() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told.IsZero() || c.announced.IsZero() {
		return nil
	}
	c.told = time.Now()
	if c.refused < math.MaxUint32 { // after a GOAWAY of http.Server, no later one may refuse less
		return []byte(ping)
	}
	return []byte(goAway + ping)
}

// drain brings the connection closer to its end, in the drain that began at a given time. The grace
// period is for a client that has not opened a stream yet, and should find a server when it does;
// for one whose responses do not end; and for one that has fallen silent.
func (c *http2Conn) drain(grace time.Duration, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	isIdle, quiet := len(c.streams) == 0, time.Since(c.active)
	switch {
	case c.announced.IsZero():
		if isIdle && c.last > 0 || time.Since(began) >= grace {
			c.announce()
			go c.tell()
		}
	case !isIdle || c.closing:
	case c.delay > 0 && !c.halfClosing:
		if quiet >= max(leaveTime, 4*c.delay) || time.Since(c.settled) >= grace {
			c.halfClosing = true
			go c.halfClose()
		}
	case quiet >= grace:
		c.closing = true
		go c.Conn.Close() //nolint:errcheck // ends soon; TLS may take some seconds to say goodbye
	}
}

// halfClose closes the direction to the client, on a connection that can do that. It waits until
// nobody writes, or the connection is closed.
func (c *http2Conn) halfClose() {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.mayHalfClose() {
		return
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		c.halfClosed = true
		_ = w.CloseWrite() // a dead connection reports that by itself
	}
}

// mayHalfClose reports whether no stream has been opened in the meantime.
func (c *http2Conn) mayHalfClose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = time.Now()
	c.halfClosing = len(c.streams) == 0
	return c.halfClosing
}

// isIgnored reports whether the client has kept the connection open for longer than the grace
// period after it should have been told.
func (c *http2Conn) isIgnored(grace time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.announced.IsZero() && time.Since(c.announced) > grace
}

// The notice to the client: a GOAWAY that refuses no stream, and a PING that differs from those of
// http.Server.
const (
	goAway   = "\x00\x00\x08\x07\x00" + "\x00\x00\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x00\x00\x00"
	ping     = "\x00\x00\x08\x06\x00" + "\x00\x00\x00\x00" + pingData
	pingData = "drained?"
)

// The frames for a client without sufficient security: SETTINGS, which must come first, and a
// GOAWAY with INADEQUATE_SECURITY.
const (
	noSettings         = "\x00\x00\x00\x04\x00" + "\x00\x00\x00\x00"
	inadequateSecurity = "\x00\x00\x08\x07\x00" + "\x00\x00\x00\x00" +
		"\x00\x00\x00\x00" + "\x00\x00\x00\x0c"
)
