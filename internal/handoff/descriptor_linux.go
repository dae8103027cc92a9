package handoff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// TransferPair makes the link for transfers, see [Pair]. It is nil, with its other end, where transfers would not be safe: the link
// needs room for all that may be on its way at once, and Revoked after that, without a reader.
func TransferPair() (*Link, *os.File, error) {
	l, theirs, err := Pair()
	if err != nil {
		return nil, nil, err
	}
	room, err := l.setRoom(transferRoom)
	if err != nil || room < transferRoom {
		return nil, nil, errors.Join(err, l.Close(), theirs.Close())
	}
	return l, theirs, nil
}

// transferRoom is in bytes of the kernel's memory, of which a message takes more than its length.
const transferRoom = 256 << 10

// setRoom sets how much can be sent without a reader. It returns what the system allows.
func (l *Link) setRoom(n int) (room int, err error) {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	closed := raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, n/2) // the kernel doubles it
		room, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return room, errors.Join(closed, os.NewSyscallError("getsockopt", err))
}

// A descriptor travels with the first byte of its message. Who receives it reads each header by itself, and no more: so it cannot be
// taken for that of another message, not even if the system drops one because the process has too many.

// rightsSpace is room for more than the one descriptor that a message has: what does not fit would be lost.
var rightsSpace = unix.CmsgSpace(4 * 4)

// SendWith writes a message with the descriptor of c, which stays the caller's. Otherwise it is like Send. After a message that was
// sent in part, nothing more is sent: the other side reads an end in the middle of it.
func (l *Link) SendWith(ctx context.Context, m Message, c syscall.Conn) error {
	if ctx.Err() != nil {
		return fmt.Errorf("send %s: %w", Name(m), context.Cause(ctx))
	}
	frame, err := encode(m)
	if err != nil {
		return err
	}
	if l.torn {
		return errTorn
	}
	n, err := l.writeWith(ctx, frame, c)
	if err == nil {
		err = l.write(ctx, frame[n:])
		l.torn = err != nil
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", Name(m), err)
	}
	return nil
}

// writeWith writes a descriptor, and as much of b as there is room for at once.
func (l *Link) writeWith(ctx context.Context, b []byte, c syscall.Conn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	defer onDone(ctx, l.conn.SetWriteDeadline)()
	closed := raw.Control(func(fd uintptr) { n, _, err = l.conn.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil) })
	return n, causeOf(ctx, errors.Join(closed, err))
}

// ReceiveWith reads a message and the descriptor that came with it, which is the caller's to close; nil if there is none, or if it
// was lost. It keeps nothing of a message that has come in part when ctx ends. Otherwise it is like Receive. A Link is read by
// one of the two.
func (l *Link) ReceiveWith(ctx context.Context) (Message, *os.File, error) {
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("receive: %w", context.Cause(ctx))
	}
	defer onDone(ctx, l.conn.SetReadDeadline)()
	frame, files, err := l.readFrame()
	var m Message
	if err == nil {
		m, err = decode(frame)
	}
	if err == nil && len(files) > 1 {
		err = fmt.Errorf("%w: %d descriptors came with one message", ErrProtocol, len(files))
	}
	if err != nil {
		_ = CloseAll(files) // nobody has used them
		return nil, nil, causeOf(ctx, err)
	}
	return m, append(files, nil)[0], nil
}

// CloseRead lets nothing more come: what the other side sends from now on fails there. ReceiveWith returns what had come before, and
// then io.EOF. Only Linux keeps that: macOS and the BSDs drop what a socket has received when it is shut down for reading.
func (l *Link) CloseRead() { _ = l.conn.CloseRead() }

// usualLen is that of the longest message of a link for transfers.
const usualLen = headerLen + maxOpen

// readFrame reads a whole frame, also if there is an error all descriptors that have come. Beyond the usual length, memory is for what
// has come, and not for what the header promises.
func (l *Link) readFrame() (frame []byte, files []*os.File, err error) {
	header := make([]byte, headerLen)
	files, err = l.readHeader(header)
	if err != nil {
		return nil, files, err
	}
	n, err := frameLen(header)
	if err != nil {
		return nil, files, err
	}
	var whole bytes.Buffer
	whole.Grow(min(n, usualLen) + bytes.MinRead) // which it wants free to see the end
	whole.Write(header)
	if _, err := io.CopyN(&whole, l.conn, int64(n-headerLen)); err != nil {
		return nil, files, endOf(err, true)
	}
	return whole.Bytes(), files, nil
}

func (l *Link) readHeader(header []byte) (files []*os.File, err error) {
	space := make([]byte, rightsSpace)
	for got := 0; got < len(header); {
		n, oobn, _, _, err := l.conn.ReadMsgUnix(header[got:], space)
		files = append(files, takeRights(space[:max(oobn, 0)])...)
		if err != nil {
			return files, endOf(err, got > 0)
		}
		got += n
	}
	return files, nil
}

// endOf tells the end of the other side from other errors.
func endOf(err error, within bool) error {
	switch {
	case !isEnd(err) && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("receive: %w", err)
	case within:
		return errTruncated
	}
	return io.EOF
}

// takeRights makes files of the descriptors that have come; package net has made them close-on-exec.
func takeRights(oob []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		numbers, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range numbers {
			files = append(files, os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)))
		}
	}
	return files
}
