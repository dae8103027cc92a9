package gracehttp

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a connection that keeps what is written to it.
type recorder struct {
	net.Conn
	written []byte
	fails   bool
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.fails {
		return 0, io.ErrClosedPipe
	}
	r.written = append(r.written, b...)
	return len(b), nil
}

// The notice to the client is written between two frames, and not inside a header block (RFC 9113,
// section 4.3).
func TestHTTP2NoticeIsBetweenFrames(t *testing.T) {
	settings := appendFrame(nil, 4, 0, 0, "")
	headers := appendFrame(nil, headersFrame, 0, 1, "abc")
	rest := appendFrame(nil, continuationFrame, endHeadersFlag, 1, "def")
	parts := [][]byte{settings[:4], settings[4:], headers, rest[:10], rest[10:]}
	for told, heard := range map[int]int{0: 1, 1: 1, 2: 4, 3: 4, 4: 4} { // after which part
		synctest.Test(t, func(t *testing.T) {
			wire := &recorder{}
			c := newHTTP2Conn(wire, strings.NewReader(""), func() bool { return true })
			for i, part := range parts {
				if n, err := c.Write(part); n != len(part) || err != nil {
					t.Errorf("%d, %v", n, err)
				}
				if i == told {
					c.drain(0, time.Now())
				}
				synctest.Wait()
			}
			want := slices.Concat(parts[:heard+1]...)
			want = append(want, goAway+ping...)
			want = append(want, slices.Concat(parts[heard+1:]...)...)
			if !slices.Equal(wire.written, want) {
				t.Errorf("notice after part %d: %q was written, want %q", told, wire.written, want)
			}
		})
	}
}

// A stream is open until both sides have ended it, or one has reset it.
func TestHTTP2StreamIsOpen(t *testing.T) {
	first, last, body := headers(3), lastHeaders(3), data(3)
	for name, c := range map[string]struct {
		client, server []frame
		isOpen         bool
	}{
		"request":                 {client: []frame{last}, isOpen: true},
		"part of a request":       {client: []frame{first}, isOpen: true},
		"part of a response":      {client: []frame{last}, server: []frame{first}, isOpen: true},
		"response":                {client: []frame{last}, server: []frame{first, body}},
		"response without a body": {client: []frame{last}, server: []frame{last}},
		"request with a body":     {client: []frame{first, body}, server: []frame{last}},
		"request with trailers":   {client: []frame{first, last}, server: []frame{last}},
		"early response":          {client: []frame{first}, server: []frame{last}, isOpen: true},
		"early, and reset":        {client: []frame{first}, server: []frame{last, reset(3)}},
		"reset by the client":     {client: []frame{first, reset(3)}},
		"two requests, one reset": {client: []frame{last, lastHeaders(5), reset(5)}, isOpen: true},
		"pushed":                  {server: []frame{promise(2)}, isOpen: true},
		"pushed to its end":       {server: []frame{promise(2), headers(2), data(2)}},
	} {
		h := newHTTP2Conn(nil, nil, func() bool { return false })
		for _, f := range c.client {
			h.noteReceived(&f)
		}
		for _, f := range c.server {
			h.noteSent(&f)
		}
		if isOpen := len(h.streams) > 0; isOpen != c.isOpen {
			t.Errorf("%s: a stream is open: %v", name, isOpen)
		}
	}
}

func headers(stream uint32) frame {
	return frame(appendFrame(nil, headersFrame, endHeadersFlag, stream, "12345678"))
}

// lastHeaders returns HEADERS that end the stream.
func lastHeaders(stream uint32) frame {
	return frame(appendFrame(nil, headersFrame, endHeadersFlag|endStreamFlag, stream, "12345678"))
}

func data(stream uint32) frame {
	return frame(appendFrame(nil, dataFrame, endStreamFlag, stream, "12345678"))
}

func reset(stream uint32) frame {
	return frame(appendFrame(nil, resetFrame, 0, stream, "\x00\x00\x00\x00    "))
}

func promise(stream byte) frame {
	payload := "\x00\x00\x00" + string(rune(stream)) + "    "
	return frame(appendFrame(nil, pushPromiseFrame, endHeadersFlag, 1, payload))
}

// The drain does not wait for a stream that net/http ignores after its GOAWAY.
func TestHTTP2IgnoredStreamIsNotOpen(t *testing.T) {
	c := newHTTP2Conn(nil, nil, func() bool { return false })
	receive := func(stream uint32) {
		f := lastHeaders(stream)
		c.noteReceived(&f)
	}
	receive(1)
	receive(3)
	f := frame(appendFrame(nil, goAwayFrame, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"))
	c.noteSent(&f)
	receive(5)
	if _, isOpen := c.streams[1]; len(c.streams) != 1 || !isOpen {
		t.Errorf("%v are open", c.streams)
	}
}

// twoWay is a connection whose directions can be closed one by one. It records when they were.
type twoWay struct {
	recorder
	began              time.Time
	halfClosed, closed time.Duration // 0 if it is not
}

func (c *twoWay) CloseWrite() error { c.halfClosed = time.Since(c.began); return nil }
func (c *twoWay) Close() error      { c.closed = time.Since(c.began); return nil }

// newTold returns a connection without streams whose client was told, and answers after a delay.
func newTold(delay time.Duration) (*http2Conn, *twoWay) {
	wire := &twoWay{began: time.Now()}
	c := newHTTP2Conn(wire, strings.NewReader(""), func() bool { return true })
	_, _ = c.Write(appendFrame(nil, 4, 0, 0, ""))
	f := lastHeaders(1)
	c.noteReceived(&f)
	c.noteSent(&f)
	c.tell()
	go func() {
		time.Sleep(delay)
		c.noteLife()
		f := frame(appendFrame(nil, pingFrame, ackFlag, 0, pingData))
		c.noteReceived(&f)
	}()
	return c, wire
}

// However short the grace period is, the connection is closed in one direction first, and not
// before it was quiet.
func TestHTTP2ClosesOneDirectionFirst(t *testing.T) {
	const late = 1300 * time.Millisecond
	for _, c := range []struct{ grace, delay, halfClosed time.Duration }{
		{leaveTime, 0, leaveTime},
		{DefaultIdleGrace, 0, leaveTime},
		{DefaultIdleGrace, leaveTime, leaveTime + 4*leaveTime},
		{DefaultIdleGrace, late, late + DefaultIdleGrace},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, wire := newTold(c.delay)
			for wire.closed == 0 && time.Since(wire.began) < time.Minute {
				h.drain(c.grace, wire.began)
				time.Sleep(maxPoll)
				synctest.Wait()
			}
			const slack = 2 * maxPoll
			half, both := wire.halfClosed-c.halfClosed, wire.closed-wire.halfClosed-c.grace // too late
			if half < 0 || half > slack || both < 0 || both > slack {
				t.Errorf("%+v: half-closed after %v, closed after %v", c, wire.halfClosed, wire.closed)
			}
		})
	}
}

// A stream that arrives when the end was already decided is answered.
func TestHTTP2StreamAtTheVeryEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, wire := newTold(0)
		time.Sleep(leaveTime + time.Millisecond)
		h.writing.Lock() // http.Server's Write
		h.drain(DefaultIdleGrace, wire.began)
		f := lastHeaders(3)
		h.noteReceived(&f)
		h.writing.Unlock()
		synctest.Wait()
		before := len(wire.written)
		_, _ = h.Write(f[:])
		if wire.halfClosed > 0 || len(wire.written) == before {
			t.Errorf("half-closed after %v, %d bytes written", wire.halfClosed, len(wire.written)-before)
		}
	})
}

// Nothing can follow a frame of ours of which only a part was written.
func TestHTTP2NoticeInPart(t *testing.T) {
	wire := &recorder{}
	c := newHTTP2Conn(wire, strings.NewReader(""), func() bool { return true })
	_, _ = c.Write(appendFrame(nil, 4, 0, 0, ""))
	wire.fails = true
	c.announced = time.Now()
	c.tell()
	wire.fails = false
	if n, err := c.Write([]byte("frame")); n > 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}
