package httpload

import (
	"io"
	"time"
)

// sipper reads slowly: it pauses after every sip.
type sipper struct {
	io.Reader
	pause time.Duration
	since int // bytes since the last pause
}

const sip = 256 << 10

func (s *sipper) Read(b []byte) (int, error) {
	if s.since >= sip {
		s.since = 0
		time.Sleep(s.pause)
	}
	n, err := s.Reader.Read(b[:min(len(b), sip-s.since)])
	s.since += n
	return n, err
}

// readerOf reads from a connection in the way of the kind.
func (c *rawClient) readerOf(conn io.Reader) io.Reader {
	if !c.kind.sips {
		return conn
	}
	return &sipper{Reader: conn, pause: 10 * c.config.Step}
}
