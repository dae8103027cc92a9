package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Link is one end of the connection between two generations. One goroutine at a time may send, and one receive; Close,
// CloseRead, StopWaiting and both of these can be called at once.
type Link struct {
	conn   *net.UnixConn
	buf    []byte      // received, and not yet returned
	queued []byte      // to be sent before all else
	torn   bool        // SendWith has sent a message in part
	noWait atomic.Bool // StopWaiting was called
}

var errTorn = errors.New("a message was sent in part: nothing can follow it")

var past = time.Unix(1, 0)

// Send writes a message. When ctx ends it returns the cause; the other side may then have got a part, and nothing more can
// be sent.
func (l *Link) Send(ctx context.Context, m Message) error {
	if ctx.Err() != nil {
		return fmt.Errorf("send %s: %w", Name(m), context.Cause(ctx))
	}
	frame, err := encode(m)
	if err != nil {
		return err
	}
	if err := l.write(ctx, append(l.queued, frame...)); err != nil {
		return fmt.Errorf("send %s: %w", Name(m), err)
	}
	l.queued = nil
	return nil
}

// Queue sends a message to a process that is not there yet, which finds it even if this one is gone by then. What is more than
// the system keeps for it goes with Flush, or before the next message.
func (l *Link) Queue(m Message) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	if l.torn {
		return errTorn
	}
	n, err := writeSome(l.conn, frame)
	if err != nil {
		return fmt.Errorf("send %s: %w", Name(m), err)
	}
	l.queued = frame[n:]
	return nil
}

// Flush sends what Queue has left. When ctx ends it returns the cause, as Send does.
func (l *Link) Flush(ctx context.Context) error {
	if err := l.write(ctx, l.queued); err != nil {
		return fmt.Errorf("send the rest of a message: %w", err)
	}
	l.queued = nil
	return nil
}

func (l *Link) write(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	defer onDone(ctx, l.conn.SetWriteDeadline)()
	_, err := l.conn.Write(b)
	return causeOf(ctx, err)
}

// Receive reads a message. The error is io.EOF when the other process has closed its end, or has ended; it matches
// io.ErrUnexpectedEOF too if that was in the middle of a message, and [ErrProtocol] if the bytes are no message. When ctx
// ends it is the cause, and what has come of a message so far is kept for the next call.
func (l *Link) Receive(ctx context.Context) (Message, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("receive: %w", context.Cause(ctx))
	}
	defer onDone(ctx, l.conn.SetReadDeadline)()
	if err := l.fill(ctx, headerLen); err != nil {
		return nil, err
	}
	n, err := frameLen(l.buf)
	if err != nil {
		return nil, err
	}
	if err := l.fill(ctx, n); err != nil {
		return nil, err
	}
	m, err := decode(l.buf[:n])
	l.buf = append([]byte(nil), l.buf[n:]...) // no large Hello is kept
	return m, err
}

// errTruncated matches io.EOF as well: a process that dies in the middle of a message is a process that dies.
var errTruncated = fmt.Errorf("%w, in the middle of a message: %w", io.EOF, io.ErrUnexpectedEOF)

// fill reads until the buffer has n bytes. It grows with what has come, not with what a header promises.
func (l *Link) fill(ctx context.Context, n int) error {
	chunk := make([]byte, min(max(n-len(l.buf), 512), 64<<10))
	for len(l.buf) < n {
		got, err := l.read(chunk)
		l.buf = append(l.buf, chunk[:got]...)
		if err == nil || got > 0 {
			continue
		}
		if isEnd(err) {
			if len(l.buf) > 0 {
				return errTruncated
			}
			return io.EOF
		}
		return fmt.Errorf("receive: %w", causeOf(ctx, err))
	}
	return nil
}

// read reads, after StopWaiting only what has come.
func (l *Link) read(b []byte) (int, error) {
	if !l.noWait.Load() {
		n, err := l.conn.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !l.noWait.Load() {
			return n, err
		}
	}
	return readSome(l.conn, b)
}

// Unread gives a message back, for the next Receive.
func (l *Link) Unread(m Message) error {
	frame, err := encode(m)
	if err == nil {
		l.Prepend(string(frame))
	}
	return err
}

// Heard is what was read from the other side, and has not been received.
func (l *Link) Heard() string { return string(l.buf) }

// Prepend lets the next Receive begin with what somebody else has heard.
func (l *Link) Prepend(heard string) { l.buf = append([]byte(heard), l.buf...) }

// SyscallConn gives the descriptor, to be passed on.
func (l *Link) SyscallConn() (syscall.RawConn, error) { return l.conn.SyscallConn() }

// StopWaiting has Receive wait for nothing any more: it returns what has come, and then io.EOF. It is for the case that the other
// process has ended, while something that it started still holds its end of the connection. The socket stays as it is: to shut it
// down for reading would drop what has come, on macOS and the BSDs.
func (l *Link) StopWaiting() {
	l.noWait.Store(true)
	_ = l.conn.SetReadDeadline(past)
}

// Close closes this end. The other side reads io.EOF.
func (l *Link) Close() error { return l.conn.Close() }

// onDone sets a deadline when ctx ends; the returned function undoes it.
func onDone(ctx context.Context, setDeadline func(time.Time) error) (undo func()) {
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		_ = setDeadline(past)
	})
	return func() {
		if !stop() {
			<-finished
			_ = setDeadline(time.Time{})
		}
	}
}

// causeOf tells a deadline that onDone has set from other errors.
func causeOf(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// CloseAll closes files, of which some may be nil.
func CloseAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
