package gracehttp

import (
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
// The client is told to open no more streams by a GOAWAY that refuses none, and a PING. When it has answered that, it knows (RFC 9113,
// section 6.8). A stream that it had opened by then may still be on its way: clients number streams before they write, and packets get
// lost. So the connection has to be quiet for a while, if the client does not close it. Then one direction is closed, which the client
// finds after the last answer; the other one, when the client has closed it, so that what it still sends does not reset the connection
// before it has got everything.
//
// Some clients (curl 7.88) go on with a connection on which a GOAWAY has come during an answer. So it comes after one, if it can.
type http2Conn struct {
	net.Conn
	conn     *conn
	draining func() bool   // the server
	closed   chan struct{} // when http.Server is done
	once     sync.Once     // closes it

	received io.Reader // what http.Server reads: only one goroutine at a time does
	preface  int       // bytes of it that are still to come
	in       frames

	writing    sync.Mutex // held while something is written
	out        frames
	halfClosed bool  // nothing is written any more
	broken     error // of a frame of ours that was written in part

	mu          sync.Mutex
	streams     map[uint32]side // those that are open, and who has ended them on one side
	last        uint32          // the last one that the client has opened; 0 if it has not opened any
	refused     uint32          // http.Server has said that it ignores those from here on
	announced   time.Time       // when the client was to be told to open no more
	told        time.Time       // when it was
	delay       time.Duration   // after which it has answered; 0 if it has not
	active      time.Time       // when there was the last sign of life since it was announced
	settled     time.Time       // when the last stream ended since then, or the client has answered
	halfClosing bool            // one direction is closed, or about to be
	closing     bool            // so is the connection
}

// side says who has ended a stream.
type side byte

const (
	byClient side = 1
	byServer side = 2
	byBoth        = byClient | byServer
)

// newHTTP2Conn is for a connection on which http.Server has read the given part of the preface.
func newHTTP2Conn(nc net.Conn, read io.Reader, draining func() bool) *http2Conn {
	return &http2Conn{
		Conn: nc, draining: draining, closed: make(chan struct{}), received: io.MultiReader(read, nc), preface: len(http2Preface),
		streams: make(map[uint32]side), refused: math.MaxUint32,
	}
}

// Close closes the connection.
func (c *http2Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// Read follows what the client sends.
func (c *http2Conn) Read(b []byte) (int, error) {
	n, err := c.received.Read(b)
	if n > 0 {
		c.noteLife()
	}
	c.in.follow(c.skipPreface(b[:n]), c.noteReceived)
	return n, err
}

// skipPreface gives what is not of the preface.
func (c *http2Conn) skipPreface(b []byte) []byte {
	n := min(c.preface, len(b))
	c.preface -= n
	return b[n:]
}

// noteLife notes that something has come.
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
		if id > c.last && id < c.refused { // else they are trailers
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

// Write follows what http.Server sends. What it sends when all is said, nobody gets.
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
		maps.DeleteFunc(c.streams, func(id uint32, _ side) bool { return id%2 == 1 && id >= c.refused })
	}
}

// end notes the end of a stream on one side, if the frame is that. After an answer, a draining server tells the client to open no more;
// mu is held.
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
		c.announce()
		c.active = time.Now()
	}
}

// remove notes that a stream is not open any more; mu is held.
func (c *http2Conn) remove(id uint32) {
	delete(c.streams, id)
	if !c.announced.IsZero() {
		c.settled = time.Now()
	}
}

// announce has the client told to open no more streams; mu is held, and tell follows.
func (c *http2Conn) announce() {
	if c.announced.IsZero() {
		c.announced = time.Now()
		c.active = c.announced
	}
}

// tell tells the client what it is to be told, as soon as nobody else writes.
func (c *http2Conn) tell() {
	c.writing.Lock() // until the end of the connection, if the client does not read
	defer c.writing.Unlock()
	c.tellNow()
}

// tellNow does it unless the last frame is not complete: then Write does, later; writing is held.
func (c *http2Conn) tellNow() {
	if c.halfClosed || c.broken != nil || !c.out.isBetween() || !endsBlock(&c.out.frame) {
		return
	}
	if notice := c.notice(); notice != nil {
		_, c.broken = c.Conn.Write(notice)
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

// notice is what the client is to be told; nil if it is nothing.
func (c *http2Conn) notice() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told.IsZero() || c.announced.IsZero() {
		return nil
	}
	c.told = time.Now()
	if c.refused < math.MaxUint32 { // http.Server has sent a GOAWAY: a later one must not refuse less
		return []byte(ping)
	}
	return []byte(goAway + ping)
}

// drain ends the connection in the drain that began at a time. The grace is for a client that has not opened a stream yet, which it
// should find a server for, for one whose answers have no end, and for one of which nothing is heard any more.
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
		go c.Conn.Close() //nolint:errcheck // ends soon; TLS may take some seconds to say good-bye
	}
}

// halfClose closes one direction, of a connection that has two. It waits until nobody writes, or the connection is closed.
func (c *http2Conn) halfClose() {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.mayHalfClose() {
		return
	}
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		c.halfClosed = true
		_ = w.CloseWrite() // a connection that is gone says so by itself
	}
}

// mayHalfClose reports whether there is still nothing to be said.
func (c *http2Conn) mayHalfClose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = time.Now()
	c.halfClosing = len(c.streams) == 0
	return c.halfClosing
}

// isIgnored reports whether the client goes on though it should have got what it was told.
func (c *http2Conn) isIgnored(grace time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.announced.IsZero() && time.Since(c.announced) > grace
}

// What the client is told: a GOAWAY that refuses no stream, and a PING that is not one of http.Server.
const (
	goAway   = "\x00\x00\x08\x07\x00" + "\x00\x00\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x00\x00\x00"
	ping     = "\x00\x00\x08\x06\x00" + "\x00\x00\x00\x00" + pingData
	pingData = "drained?"
)

// What a client without sufficient security is told: SETTINGS, which come first, and a GOAWAY with INADEQUATE_SECURITY.
const (
	noSettings         = "\x00\x00\x00\x04\x00" + "\x00\x00\x00\x00"
	inadequateSecurity = "\x00\x00\x08\x07\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x0c"
)
