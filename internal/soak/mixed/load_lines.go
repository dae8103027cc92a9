package mixed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// lineClient speaks the line protocol. It opens a connection for each request, or keeps one until
// the server marks an answer as the last one.
type lineClient struct {
	identity
	kind      *kind
	network   string
	addr      string
	keepAlive bool

	conn    net.Conn // nil while there is none
	answers *json.Decoder
}

func (c *lineClient) request(n int) (int, error) {
	a, err := c.ask(c.compose(n))
	if err != nil || a.Last || !c.keepAlive {
		c.hangUp()
	}
	return a.Generation, err
}

func (c *lineClient) ask(text string) (a answer, err error) {
	if c.conn == nil {
		if c.conn, err = c.kind.dial(c.network, c.addr); err != nil {
			return a, err
		}
		c.answers = json.NewDecoder(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.kind.patience)); err != nil {
		return a, err
	}
	if _, err := io.WriteString(c.conn, text+"\n"); err != nil {
		return a, err
	}
	if err := c.answers.Decode(&a); err != nil {
		return a, broken(err)
	}
	return a, a.check(text)
}

// check returns an error if a is the answer to another request.
func (a answer) check(text string) error {
	if a.Text != text {
		return fmt.Errorf("asked %.60q, got the answer to %.60q", text, a.Text)
	}
	return nil
}

// broken turns an end of file, where an answer is expected, into an error that says so.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *lineClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // its last answer has come, or never will
		c.conn = nil
	}
}
