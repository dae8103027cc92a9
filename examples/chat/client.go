package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	maxText      = 4 << 10         // bytes in a message
	writeTimeout = 5 * time.Second // for a client to take everything that it is sent
	closeTimeout = 2 * time.Second // for a client to close its end
)

// client is a connection and its state. One goroutine reads, and one writes.
type client struct {
	conn net.Conn
	state
	sending sync.Mutex // frames must not mix
}

// state is what the next process must know about a client.
type state struct {
	Nick   string
	Last   uint64 // number of the last message sent to it
	Unread []byte // bytes received and not yet handled
	Text   []byte // of a message whose last fragment is missing; nil if there is none
}

// closing is an error that the client receives as the status of a close frame.
type closing ws.StatusCode

func (c closing) Error() string {
	return fmt.Sprintf("the connection is closed with status %d", uint16(c))
}

// stay lets the client talk in the room. It returns nil once the room is closed and the client has
// all its messages; the connection is no longer used then.
func (c *client) stay(r *room) error {
	r.enter()
	ctx, leave := context.WithCancelCause(context.Background())
	defer leave(nil)
	var reading sync.WaitGroup
	reading.Go(func() { // ends when it is interrupted
		if err := c.read(r); err != nil {
			leave(err)
		}
	})
	if err := c.write(ctx, r); err != nil {
		leave(err)
	}
	_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // if it fails, so does the read
	reading.Wait()
	return context.Cause(ctx)
}

// write sends the messages of the room until it is closed.
func (c *client) write(ctx context.Context, r *room) error {
	for {
		frames, more, err := r.after(c.Last)
		if err != nil {
			return err
		}
		if err := c.send(frames...); err != nil {
			return err
		}
		c.Last += uint64(len(frames))
		if more == nil {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// send sends whole frames.
func (c *client) send(frames ...[]byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	buffers := net.Buffers(slices.Clone(frames)) // WriteTo changes them
	_, err := buffers.WriteTo(c.conn)
	return err
}

// read handles frames until the room is closed or the read is interrupted.
func (c *client) read(r *room) error {
	for {
		frame, size, err := c.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		handled, err := c.handle(frame, r)
		if err != nil || !handled {
			return err
		}
		c.Unread = slices.Delete(c.Unread, 0, size)
	}
}

// bye tells the client why its connection is closed, and waits until it closes its end. Closing a
// connection with unread data may destroy data on its way to the client.
func (c *client) bye(reason closing) {
	body := ws.NewCloseFrameBody(ws.StatusCode(reason), "")
	if c.send(ws.MustCompileFrame(ws.NewCloseFrame(body))) != nil {
		return // it is gone, or takes nothing
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	_, _ = io.Copy(io.Discard, c.conn)
}
