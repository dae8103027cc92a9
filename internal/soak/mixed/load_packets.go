package mixed

import (
	"encoding/json"
	"net"
	"time"
)

// packetClient sends datagrams, and waits for the answer to each before it sends the next. The
// loopback network is far from dropping any: a missing answer was lost by the service.
type packetClient struct {
	identity
	kind *kind
	addr string

	conn net.Conn // nil before the first request
	buf  []byte
}

func (c *packetClient) request(n int) (int, error) {
	if c.conn == nil {
		conn, err := c.kind.dial("udp", c.addr)
		if err != nil {
			return 0, err
		}
		c.conn, c.buf = conn, make([]byte, 64<<10)
	}
	a, err := c.ask(c.compose(n))
	if err != nil {
		c.hangUp() // a late answer must not count as that to the next request
	}
	return a.Generation, err
}

func (c *packetClient) ask(text string) (a answer, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(c.kind.patience)); err != nil {
		return a, err
	}
	if _, err := c.conn.Write([]byte(text)); err != nil {
		return a, err
	}
	n, err := c.conn.Read(c.buf)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(c.buf[:n], &a); err != nil {
		return a, err
	}
	return a, a.check(text)
}

func (c *packetClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // its last answer has come, or never will
		c.conn = nil
	}
}
