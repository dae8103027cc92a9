package handoff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// TransferPair makes the link for transfers, see [Pair]. It returns nil for both ends if transfers
// would not be safe: without a reader, the link needs room for all messages that may be in flight
// at once, followed by Revoked.
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

// transferRoom is in bytes of the kernel's memory. A message takes more of it than its length.
const transferRoom = 256 << 10

// setRoom sets how much can be sent without a reader, and returns the room that the system allows.
func (l *Link) setRoom(n int) (room int, err error) {
	err = fds.Control(l.conn, func(fd int) error {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n/2) // the kernel doubles it
		room, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		return os.NewSyscallError("getsockopt", err)
	})
	return room, err
}

// Descriptors travel with the first byte of their message. The receiver reads each header
// separately, so it cannot take them for those of another message, even if the system drops some
// because the process has too many. It drops the last ones, so the others keep their places.

// rightsSpace is room for more descriptors than a message may have: one that does not fit would be
// lost.
var rightsSpace = unix.CmsgSpace(4 * (MaxOffers + 3))

// SendWith writes a message with descriptors, which stay the caller's. Otherwise it is like Send.
// If only a part of a message was sent, nothing more is sent: the other side reads the end of the
// link in the middle of the message.
func (l *Link) SendWith(ctx context.Context, m Message, descriptors ...int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("send %s: %w", Name(m), context.Cause(ctx))
	}
	frame, err := encode(m)
	if err != nil {
		return err
	}
	if l.broken {
		return errBroken
	}
	n, err := l.writeWith(ctx, frame, descriptors)
	if err == nil {
		_, err = l.write(ctx, frame[n:])
		l.broken = err != nil
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", Name(m), err)
	}
	return nil
}

// Broken reports whether nothing more can be sent, because only a part of a message was.
func (l *Link) Broken() bool { return l.broken }

// writeWith writes descriptors and as much of b as there is room for at once.
func (l *Link) writeWith(ctx context.Context, b []byte, descriptors []int) (n int, err error) {
	defer onDone(ctx, l.conn.SetWriteDeadline)()
	err = persist(ctx, func() (err error) {
		n, err = l.socket.WriteWith(b, unix.UnixRights(descriptors...))
		return err
	})
	return n, causeOf(ctx, err)
}

// ReceiveWith reads a message and the descriptors that came with it, which the caller closes. If
// there are fewer than were sent, the last ones were lost. When ctx ends in the middle of a
// message, the part that was read is lost, and nothing is received at the end of ctx's time.
// Otherwise ReceiveWith is like Receive. Use only one of the two to read a Link.
func (l *Link) ReceiveWith(ctx context.Context) (Message, []*os.File, error) {
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("receive: %w", context.Cause(ctx))
	}
	if l.lost {
		return nil, nil, errLost
	}
	defer onDone(ctx, l.conn.SetReadDeadline)()
	frame, files, err := l.readFrame(ctx)
	var m Message
	if err == nil {
		m, err = decode(frame)
	}
	if err == nil && len(files) > descriptors(m) {
		err = fmt.Errorf("%w: %d descriptors came with %s", ErrProtocol, len(files), Name(m))
	}
	if err != nil {
		_ = CloseAll(files) // unused
		return nil, nil, causeOf(ctx, err)
	}
	return m, files, nil
}

// CloseRead shuts this end down for reading: sending from the other side fails from now on.
// ReceiveWith returns the messages that arrived before, and then io.EOF. This works only on Linux:
// macOS and the BSDs drop the received bytes of a socket that is shut down for reading.
func (l *Link) CloseRead() { _ = l.conn.CloseRead() }

// usualLen is the length of the longest message of a link for transfers.
const usualLen = headerLen + maxOpen

// readFrame reads a whole frame. It returns the descriptors that came with it even if there is an
// error. Beyond the usual length, memory grows with the bytes read, not with the length in the
// header.
func (l *Link) readFrame(ctx context.Context) (frame []byte, files []*os.File, err error) {
	header := make([]byte, headerLen)
	files, err = l.readHeader(ctx, header)
	if err != nil {
		return nil, files, err
	}
	n, err := frameLen(header)
	if err != nil {
		return nil, files, err
	}
	var whole bytes.Buffer
	whole.Grow(min(n, usualLen) + bytes.MinRead) // Buffer needs MinRead to see the end
	whole.Write(header)
	if _, err := io.CopyN(&whole, reader{ctx, l.socket}, int64(n-headerLen)); err != nil {
		return nil, files, l.endOf(err, true)
	}
	return whole.Bytes(), files, nil
}

func (l *Link) readHeader(ctx context.Context, header []byte) (files []*os.File, err error) {
	space := make([]byte, rightsSpace)
	for got := 0; got < len(header); {
		n, oobn := 0, 0
		err := persist(ctx, func() (err error) {
			n, oobn, err = l.socket.ReadWith(header[got:], space)
			return err
		})
		files = append(files, takeRights(space[:max(oobn, 0)])...)
		if err != nil {
			return files, l.endOf(err, got > 0)
		}
		got += n
	}
	return files, nil
}

// reader reads the bytes of a message.
type reader struct {
	ctx    context.Context //nolint:containedctx // of one call
	socket Socket
}

func (r reader) Read(b []byte) (n int, err error) {
	err = persist(r.ctx, func() (err error) {
		n, err = r.socket.Read(b)
		return err
	})
	return n, err
}

// errLost is why nothing is received after an error in the middle of a message.
var errLost = fmt.Errorf("%w: a part of a message was lost when reading it failed", ErrProtocol)

// endOf returns io.EOF or errTruncated for the end of the other side, and other errors wrapped.
func (l *Link) endOf(err error, within bool) error {
	switch {
	case !IsEnd(err) && !errors.Is(err, io.ErrUnexpectedEOF):
		l.lost = within && !errors.Is(err, os.ErrDeadlineExceeded)
		return fmt.Errorf("receive: %w", err)
	case within:
		return errTruncated
	}
	return io.EOF
}

// takeRights makes files from the received descriptors, which package net has made close-on-exec.
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
