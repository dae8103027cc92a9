package mixed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// lineClient speaks the line protocol. It opens a connection for each request, or keeps one until the server says that it has
// given its last answer.
type lineClient struct {
	who
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

// check reports an answer to another request.
func (a answer) check(text string) error {
	if a.Text != text {
		return fmt.Errorf("asked %.60q, and got the answer to %.60q", text, a.Text)
	}
	return nil
}

// broken makes an end of file, where an answer was expected, the error that it is.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *lineClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // all that we wanted from it we have, or never will
		c.conn = nil
	}
}
