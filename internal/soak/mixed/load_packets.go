package mixed

import (
	"encoding/json"
	"net"
	"time"
)

// packetClient sends datagrams, and expects an answer to each before it sends the next. Nothing else sends so many over the
// loopback network that it would have to drop one: what has no answer was lost by the service.
type packetClient struct {
	who
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
		c.hangUp() // an answer that comes after all must not be taken for that to the next request
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
		_ = c.conn.Close() // as that of lineClient
		c.conn = nil
	}
}
