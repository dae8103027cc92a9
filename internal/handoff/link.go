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

// Link is one end of the connection between two generations. One goroutine may send while another
// receives. Close, CloseRead and StopWaiting can be called at any time.
type Link struct {
	conn   *net.UnixConn
	socket Socket      // of conn
	buf    []byte      // read, but not yet returned
	queued []byte      // to be sent first
	broken bool        // only a part of the last message was sent
	lost   bool        // ReceiveWith has lost a part of a message
	noWait atomic.Bool // StopWaiting was called
}

// EnvLink is the variable that names the descriptor of the successor's end of the link.
const EnvLink = "GRACE_LINK"

var errBroken = errors.New("only a part of the previous message was sent: nothing can follow it")

var past = time.Unix(1, 0)

// Send writes a message. When ctx ends it returns the cause. The other side may then have received
// a part of the message, and nothing more can be sent.
func (l *Link) Send(ctx context.Context, m Message) error {
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
	queued := len(l.queued)
	n, err := l.write(ctx, append(l.queued, frame...))
	l.broken = err != nil && n > queued
	l.queued = l.queued[min(n, queued):]
	if err != nil {
		return fmt.Errorf("send %s: %w", Name(m), err)
	}
	return nil
}

// Queue sends a message to a process that is not started yet, which can read it even if this one is
// gone by then. If the system has no room for the whole message, Flush sends the rest, or the next
// Send does.
func (l *Link) Queue(m Message) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	if l.broken {
		return errBroken
	}
	n := 0
	err = persist(context.Background(), func() (err error) {
		n, err = l.socket.WriteNow(frame)
		return err
	})
	if err != nil {
		return fmt.Errorf("send %s: %w", Name(m), err)
	}
	l.queued = frame[n:]
	return nil
}

// Flush sends the rest of a queued message. When ctx ends it returns the cause, and the next call
// goes on where this one has stopped.
func (l *Link) Flush(ctx context.Context) error {
	n, err := l.write(ctx, l.queued)
	l.queued = l.queued[n:]
	if err != nil {
		return fmt.Errorf("send the rest of a message: %w", err)
	}
	return nil
}

// write returns how much was written. At the end of ctx's time it still writes what there is room
// for: the reader may have made some while this process was stopped.
func (l *Link) write(ctx context.Context, b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	defer onDone(ctx, l.conn.SetWriteDeadline)()
	err = persist(ctx, func() error {
		wrote, err := l.socket.Write(b[n:])
		n += wrote
		if errors.Is(err, os.ErrDeadlineExceeded) && expired(ctx) {
			wrote, _ = l.socket.WriteNow(b[n:])
			n += wrote
		}
		if n == len(b) {
			return nil
		}
		return err
	})
	return n, causeOf(ctx, err)
}

// Receive reads a message. The error is io.EOF if the other process has closed its end or has
// ended, and also matches io.ErrUnexpectedEOF in the middle of a message. It matches [ErrProtocol]
// if the bytes are not a message. Any other error says nothing about the other process.
//
// When ctx is cancelled the error is the cause, and the next call continues a message of which a
// part has been read. The same holds when the time of ctx has run out, but a message that has
// arrived by then counts: this process may have been stopped or starved since.
func (l *Link) Receive(ctx context.Context) (Message, error) {
	if ctx.Err() != nil && !expired(ctx) {
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
	l.buf = append([]byte(nil), l.buf[n:]...) // frees a large Hello
	return m, err
}

// errTruncated also matches io.EOF, because the other process has ended here too.
var errTruncated = fmt.Errorf("%w, in the middle of a message: %w", io.EOF, io.ErrUnexpectedEOF)

// fill reads until the buffer has n bytes. The buffer grows with the bytes read, not with the
// length in a header.
func (l *Link) fill(ctx context.Context, n int) error {
	chunk := make([]byte, min(max(n-len(l.buf), 512), 64<<10))
	for len(l.buf) < n {
		got, err := l.read(ctx, chunk)
		l.buf = append(l.buf, chunk[:got]...)
		if err == nil || got > 0 {
			continue
		}
		if IsEnd(err) {
			if len(l.buf) > 0 {
				return errTruncated
			}
			return io.EOF
		}
		return fmt.Errorf("receive: %w", causeOf(ctx, err))
	}
	return nil
}

// read reads bytes. After StopWaiting, or at the end of ctx's time, it does not wait for any.
func (l *Link) read(ctx context.Context, b []byte) (n int, err error) {
	err = persist(ctx, func() error {
		n, err = l.readOnce(ctx, b)
		return err
	})
	return n, err
}

func (l *Link) readOnce(ctx context.Context, b []byte) (int, error) {
	if !l.noWait.Load() {
		n, err := l.socket.Read(b)
		late := errors.Is(err, os.ErrDeadlineExceeded) && (l.noWait.Load() || expired(ctx))
		if n > 0 || !late {
			return n, err
		}
	}
	n, err := l.socket.ReadNow(b)
	switch {
	case !errors.Is(err, errNothing):
		return n, err
	case l.noWait.Load():
		return 0, io.EOF
	}
	return 0, os.ErrDeadlineExceeded
}

// Unread puts a message back for the next Receive.
func (l *Link) Unread(m Message) error {
	frame, err := encode(m)
	if err == nil {
		l.Prepend(string(frame))
	}
	return err
}

// Heard returns the bytes that were read from the other side but not yet returned by Receive.
func (l *Link) Heard() string { return string(l.buf) }

// Prepend makes the next Receive begin with bytes that another process has read.
func (l *Link) Prepend(heard string) { l.buf = append([]byte(heard), l.buf...) }

// SyscallConn returns the raw connection, so that the descriptor can be passed on.
func (l *Link) SyscallConn() (syscall.RawConn, error) { return l.conn.SyscallConn() }

// StopWaiting makes Receive return the messages that have already arrived, and then io.EOF. It is
// used when the other process has ended but a child of it still holds its end of the connection. It
// does not shut the socket down for reading, because macOS and the BSDs would drop the bytes that
// have arrived.
func (l *Link) StopWaiting() {
	l.noWait.Store(true)
	_ = l.conn.SetReadDeadline(past)
}

// Close closes this end. The other side reads io.EOF.
func (l *Link) Close() error { return l.conn.Close() }

// onDone sets a deadline when ctx ends. The returned function clears it.
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

// causeOf returns the cause of ctx for a deadline that onDone has set, and other errors as they
// are.
func causeOf(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// CloseAll closes files. Some of them may be nil.
func CloseAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
