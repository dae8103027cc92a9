package gracehttp

import (
	"encoding/binary"
	"io"
	"maps"
	"math"
	"net"
	"sync"
	"time"
)

// http2Preface is what a client says first (RFC 9113, section 3.4).
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// http2Conn is a connection of HTTP/2 between http.Server and the client. It ends it in the drain without a request that is refused:
// http.Server has one GOAWAY for that, with which those that are on their way by then are lost, unless the client sends them again.
//
// The client is told to open no more streams by a GOAWAY that refuses none, and by a PING. When it has answered that, nothing of what
// it has sent before is on its way any more (RFC 9113, section 6.8). When all streams have ended, and the client has answered another
// PING, it has got all answers, and the connection is closed.
type http2Conn struct {
	net.Conn
	conn   *conn
	closed chan struct{} // when http.Server is done
	once   sync.Once     // closes it

	received io.Reader // what http.Server reads: only one goroutine at a time does
	preface  int       // bytes of it that are still to come
	in       frames

	writing sync.Mutex // held while something is written
	out     frames
	broken  error // of a frame of ours that was written in part

	mu        sync.Mutex
	streams   map[uint32]bool // those that are open
	last      uint32          // the last one that the client has opened; 0 if it has not opened any
	refused   uint32          // http.Server has said that it ignores those from here on
	unsettled bool            // http.Server has said something since the last PING
	announced time.Time       // when the client was told to open no more
	active    time.Time       // when it was last asked or heard since then
	asked     uint32          // PINGs that are to be sent
	sent      uint32          // PINGs that were
	answered  uint32          // the last one that was answered
}

// newHTTP2Conn is for a connection on which http.Server has read the given part of the preface.
func newHTTP2Conn(nc net.Conn, owner *conn, read io.Reader) *http2Conn {
	return &http2Conn{
		Conn: nc, conn: owner, closed: make(chan struct{}), received: io.MultiReader(read, nc), preface: len(http2Preface),
		streams: make(map[uint32]bool), refused: math.MaxUint32,
	}
}

// Close closes the connection.
func (c *http2Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Read follows what the client sends.
func (c *http2Conn) Read(b []byte) (int, error) {
	n, err := c.received.Read(b)
	c.in.follow(c.skipPreface(b[:n]), c.noteReceived)
	return n, err
}

// skipPreface gives what is not of the preface.
func (c *http2Conn) skipPreface(b []byte) []byte {
	n := min(c.preface, len(b))
	c.preface -= n
	return b[n:]
}

func (c *http2Conn) noteReceived(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.announced.IsZero() {
		c.active = time.Now()
	}
	switch id := f.stream(); f.kind() {
	case headersFrame: // or trailers
		if id > c.last && id < c.refused {
			c.last = id
			c.streams[id] = true
		}
	case resetFrame:
		delete(c.streams, id)
	case pingFrame:
		if n := pingNumber(f); f.has(ackFlag) && n > 0 && n <= c.sent {
			c.answered = n
		}
	}
}

// Write follows what http.Server sends.
func (c *http2Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	n, err := c.Conn.Write(b)
	c.out.follow(b[:n], c.noteSent)
	if err == nil {
		c.speak()
	}
	return n, err
}

func (c *http2Conn) noteSent(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch id := f.stream(); f.kind() {
	case headersFrame, dataFrame:
		c.unsettled = true
		if f.has(endStreamFlag) {
			delete(c.streams, id)
		}
	case continuationFrame:
		c.unsettled = true
	case resetFrame:
		c.unsettled = true
		delete(c.streams, id)
	case pushPromiseFrame:
		c.streams[streamID(f.payload())] = true
	case goAwayFrame:
		c.refused = streamID(f.payload()) + 1
		maps.DeleteFunc(c.streams, func(id uint32, _ bool) bool { return id%2 == 1 && id >= c.refused })
	}
}

// announce tells the client to open no more streams.
func (c *http2Conn) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell()
}

// tell is announce, once; mu is held.
func (c *http2Conn) tell() {
	if c.announced.IsZero() {
		c.announced = time.Now()
		c.active = c.announced
		c.ask()
	}
}

// ask finds out whether the client has got everything; mu is held.
func (c *http2Conn) ask() {
	c.asked++
	go func() { // ends with the connection, if the client does not read
		c.writing.Lock()
		defer c.writing.Unlock()
		c.speak()
	}()
}

// speak sends frames of ours between two of http.Server, when there are any; writing is held.
func (c *http2Conn) speak() {
	if !c.out.isBetween() || !endsBlock(&c.out.frame) || c.broken != nil {
		return // Write speaks later
	}
	if frames := c.pending(); frames != nil {
		_, c.broken = c.Conn.Write(frames)
	}
}

// endsBlock reports whether frames of other kinds may follow a frame: not between HEADERS and CONTINUATION (RFC 9113, section 4.3).
func endsBlock(f *frame) bool {
	switch f.kind() {
	case headersFrame, pushPromiseFrame, continuationFrame:
		return f.has(endHeadersFlag)
	}
	return true
}

// pending gives the frames that are to be sent.
func (c *http2Conn) pending() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == c.asked {
		return nil
	}
	var frames []byte
	if c.sent == 0 && c.refused == math.MaxUint32 { // http.Server has not sent one: a later one must not refuse less
		frames = append(frames, goAway...)
	}
	c.sent++
	c.active, c.unsettled = time.Now(), false
	return appendPing(frames, c.sent)
}

// leave ends the connection step by step, in the drain that began at a time. The grace is for a client that has not opened a stream yet,
// which it should find a server for, and for one of which nothing is heard any more.
func (c *http2Conn) leave(grace time.Duration, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.announced.IsZero():
		if c.last > 0 || time.Since(began) >= grace {
			c.tell()
		}
	case len(c.streams) > 0:
	case c.answered == c.asked && c.unsettled:
		c.ask()
	case c.answered == c.asked || time.Since(c.active) >= grace:
		go c.Close() //nolint:errcheck // ends soon; TLS may take some seconds to say good-bye
	}
}

// isIgnored reports whether the client goes on though it should have got what it was told.
func (c *http2Conn) isIgnored(grace time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.announced.IsZero() && time.Since(c.announced) > grace
}

// goAway is the GOAWAY that refuses no stream.
var goAway = []byte{0, 0, frameBegin, goAwayFrame, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// pingMark tells our PINGs from those of http.Server.
const pingMark = 0x67726163 // "grac"

func appendPing(b []byte, n uint32) []byte {
	b = append(b, 0, 0, frameBegin, pingFrame, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, pingMark)
	return binary.BigEndian.AppendUint32(b, n)
}

// pingNumber is that of a PING of ours, and 0 for all others.
func pingNumber(f *frame) uint32 {
	if data := f.payload(); f.length() == len(data) && binary.BigEndian.Uint32(data) == pingMark {
		return binary.BigEndian.Uint32(data[4:])
	}
	return 0
}
