package httpload

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// rawClient writes HTTP/1 by hand, on one connection at a time.
type rawClient struct {
	*identity
	conn     net.Conn // nil while there is none
	in       *bufio.Reader
	comparer comparer
}

func (c *rawClient) run(ctx context.Context) {
	defer c.hangUp()
	for ctx.Err() == nil {
		err := c.turn(ctx)
		c.pause(ctx, err)
	}
}

// turn makes a request, or a pair of them the second of which has begun before the first one is
// answered. Then the connection is idle: if one request always followed the other in this way, it
// could never be handed over.
func (c *rawClient) turn(ctx context.Context) error {
	first := c.compose(c.kind)
	if c.kind.ahead == nil {
		_, err := c.do(ctx, first, "", "")
		return err
	}
	second := c.compose(c.kind)
	wire := second.pieces()[0]
	early := wire[:c.kind.ahead(wire)]
	last, err := c.do(ctx, first, "", early)
	switch {
	case err != nil: // what becomes of the second one, nobody knows
		return err
	case last:
		c.countResent()
		early = ""
	}
	_, err = c.do(ctx, second, early, "")
	return err
}

// do makes a request of which a part was sent before, and sends a part of the next one with it. It
// tells whether the answer is the last one on the connection.
func (c *rawClient) do(ctx context.Context, r request, sent, early string) (last bool, err error) {
	began := time.Now()
	if err = c.connect(ctx); err == nil {
		last, err = c.exchange(r, sent, early)
	}
	took := time.Since(began)
	if err == nil && last {
		err = c.awaitEnd()
	}
	c.count(r, took, err)
	if err != nil || last {
		c.hangUp()
	}
	return last, err
}

// connect opens a connection if there is none.
func (c *rawClient) connect(ctx context.Context) error {
	deadline := time.Now().Add(c.config.Patience)
	if c.conn != nil {
		return c.conn.SetDeadline(deadline)
	}
	conn, err := (&net.Dialer{Deadline: deadline}).Dial(c.target.Network, c.target.Addr)
	if err != nil {
		return err
	}
	c.countDial(true)
	if c.kind.late {
		pause(ctx, c.config.Delay)
	}
	if trust := c.target.trust("http/1.1"); trust != nil {
		conn = tls.Client(conn, trust) // shakes hands with the first byte
	}
	c.conn, c.in = conn, bufio.NewReader(c.readerOf(conn))
	return conn.SetDeadline(time.Now().Add(c.config.Patience))
}

func (c *rawClient) exchange(r request, sent, early string) (last bool, err error) {
	if c.kind.deaf {
		defer c.sendAside(r)()
	} else if err := c.send(r, sent, early); err != nil {
		return false, err
	}
	resp, err := c.readFinal(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if c.kind.talks {
		return true, c.talk(r, resp)
	}
	if err := r.check(resp, &c.comparer); err != nil {
		return false, err
	}
	if n := c.in.Buffered(); n > 0 && early == "" {
		return false, fmt.Errorf("%d bytes came after the answer", n)
	}
	return resp.Close, nil
}

// sendAside sends a request while its answer is read, and returns a function that waits until that
// has ended. It ends early when the server closes the connection.
func (c *rawClient) sendAside(r request) (wait func()) {
	var sending sync.WaitGroup
	sending.Go(func() { _ = c.send(r, "", "") }) // ends with the connection, at its deadline
	return sending.Wait
}

// send writes the pieces of a request, of which the first one may be written in part.
func (c *rawClient) send(r request, sent, early string) error {
	pieces := r.pieces()
	pieces[0] = pieces[0][len(sent):]
	if c.kind.apart {
		// With TLS, the server reads all of the first piece.
		pieces = append(pieces, early[:len(early)/2], early[len(early)/2:])
	} else {
		pieces[len(pieces)-1] += early
	}
	for i, piece := range pieces {
		switch {
		case i == 1 && c.kind.expect:
			if err := c.awaitContinue(); err != nil {
				return err
			}
		case pausesBefore(i, len(pieces)):
			time.Sleep(c.config.Step)
		}
		if piece == "" {
			continue // of a pipelined request, all was sent
		}
		if _, err := io.WriteString(c.conn, piece); err != nil {
			return err
		}
	}
	return nil
}

// pausesBefore reports whether there is a pause before a piece: before each but the first one, or
// some of them if there are many. So no request takes long on a busy machine: one that is not there
// within the idle grace of a server is none.
func pausesBefore(piece, of int) bool {
	const most = 20
	return piece > 0 && (of <= most || piece*most/of > (piece-1)*most/of)
}

func (c *rawClient) awaitContinue() error {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return broken(err)
	}
	defer resp.Body.Close() //nolint:errcheck // there is none
	if resp.StatusCode != http.StatusContinue {
		return fmt.Errorf("status %s, and not that the server expects the body", resp.Status)
	}
	return checkInterim(resp.StatusCode, connectionOf(resp))
}

// broken makes an end of file, where an answer was expected, the error that it is.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// awaitEnd waits until the server closes the connection, as it has said. What the client has sent
// ahead may make a reset of that.
func (c *rawClient) awaitEnd() error {
	rest, err := c.in.Peek(1)
	switch {
	case len(rest) > 0:
		return errors.New("more came after the last answer")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the connection does not end after the last answer")
	}
	return nil
}

func (c *rawClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // all that we wanted from it we have, or never will
		c.conn = nil
	}
}
