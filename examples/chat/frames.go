package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// next waits for a whole frame, and returns it with its size. Its bytes stay in Unread until it is
// handled.
func (c *client) next() (frame ws.Frame, size int, err error) {
	for {
		frame, size, err = c.parse()
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			return frame, size, err
		}
		if err := c.fill(); err != nil {
			return ws.Frame{}, 0, err
		}
	}
}

// parse returns the first frame in Unread. The error is io.ErrUnexpectedEOF if the frame is not
// complete.
func (c *client) parse() (frame ws.Frame, size int, err error) {
	in := bytes.NewReader(c.Unread)
	h, err := ws.ReadHeader(in)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ws.Frame{}, 0, io.ErrUnexpectedEOF
	case err != nil, ws.CheckHeader(h, c.expected()) != nil:
		return ws.Frame{}, 0, closing(ws.StatusProtocolError)
	case h.Length > maxText:
		return ws.Frame{}, 0, closing(ws.StatusMessageTooBig)
	case int64(in.Len()) < h.Length:
		return ws.Frame{}, 0, io.ErrUnexpectedEOF
	}
	start := len(c.Unread) - in.Len()
	size = start + int(h.Length)
	return ws.UnmaskFrame(ws.Frame{Header: h, Payload: c.Unread[start:size]}), size, nil // copied
}

func (c *client) expected() ws.State {
	if c.Text != nil {
		return ws.StateServerSide | ws.StateFragmented
	}
	return ws.StateServerSide
}

// fill reads more bytes. Unread stays small, because it holds less than a frame.
func (c *client) fill() error {
	c.Unread = slices.Grow(c.Unread, maxText)
	n, err := c.conn.Read(c.Unread[len(c.Unread):cap(c.Unread)])
	c.Unread = c.Unread[:len(c.Unread)+n]
	return err
}

// handle acts on a frame. It returns false if the next room has to do so.
func (c *client) handle(frame ws.Frame, r *room) (bool, error) {
	if frame.Header.OpCode.IsControl() {
		return true, c.answer(frame)
	}
	text := append(append([]byte{}, c.Text...), frame.Payload...)
	switch {
	case frame.Header.OpCode == ws.OpBinary:
		return false, closing(ws.StatusUnsupportedData)
	case len(text) > maxText:
		return false, closing(ws.StatusMessageTooBig)
	case !frame.Header.Fin:
		c.Text = text
		return true, nil
	case !utf8.Valid(text):
		return false, closing(ws.StatusInvalidFramePayloadData)
	case !r.say(c.Nick, text):
		return false, nil
	}
	c.Text = nil
	return true, nil
}

// answer answers a ping or a close frame. After a close frame it returns an error.
func (c *client) answer(frame ws.Frame) error {
	var out bytes.Buffer
	err := wsutil.ControlHandler{
		Src: bytes.NewReader(frame.Payload), Dst: &out,
		State: ws.StateServerSide, DisableSrcCiphering: true,
	}.Handle(frame.Header)
	return errors.Join(c.send(out.Bytes()), err)
}
