package handoff

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// Socket reads and writes the bytes of a Link. Tests put faults there, see [Link.Wrap].
type Socket interface {
	Read(b []byte) (n int, err error)
	// ReadNow returns what has arrived, io.EOF at the end, and errNothing if it would have to wait.
	ReadNow(b []byte) (n int, err error)
	// ReadWith also reads the control messages that came with the first byte.
	ReadWith(b, oob []byte) (n, oobn int, err error)
	Write(b []byte) (n int, err error)
	// WriteNow writes as much as there is room for, which may be nothing.
	WriteNow(b []byte) (n int, err error)
	// WriteWith writes control messages and as much of b as there is room for at once.
	WriteWith(b, oob []byte) (n int, err error)
}

// errNothing is the error of ReadNow if nothing has arrived.
var errNothing = errors.New("nothing has arrived")

// unixSocket is the Socket of every Link.
type unixSocket struct{ conn *net.UnixConn }

func (s unixSocket) Read(b []byte) (int, error)     { return s.conn.Read(b) }
func (s unixSocket) ReadNow(b []byte) (int, error)  { return readNow(s.conn, b) }
func (s unixSocket) Write(b []byte) (int, error)    { return s.conn.Write(b) }
func (s unixSocket) WriteNow(b []byte) (int, error) { return writeNow(s.conn, b) }

func (s unixSocket) ReadWith(b, oob []byte) (n, oobn int, err error) {
	n, oobn, _, _, err = s.conn.ReadMsgUnix(b, oob)
	return n, oobn, err
}

func (s unixSocket) WriteWith(b, oob []byte) (int, error) {
	n, _, err := s.conn.WriteMsgUnix(b, oob, nil)
	return n, err
}

// Wrap puts something between the link and its socket. It is for tests, before the link is used.
func (l *Link) Wrap(wrap func(Socket) Socket) { l.socket = wrap(l.socket) }

// The system may be short of memory or descriptors for a moment, so an error of a socket does not
// mean that the other side has ended. A call is repeated after these pauses, 255 ms in total.
const (
	firstPause = time.Millisecond
	lastPause  = 128 * time.Millisecond
)

// persist repeats a call that fails for a reason that may pass.
func persist(ctx context.Context, call func() error) error {
	for pause := firstPause; ; pause *= 2 {
		err := call()
		if err == nil || isFinal(err) || pause > lastPause {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// isFinal reports whether a repeated call would fail in the same way.
func isFinal(err error) bool {
	return IsEnd(err) || errors.Is(err, errNothing) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errors.ErrUnsupported)
}

// expired reports whether the time of ctx has run out, rather than that it was cancelled.
func expired(ctx context.Context) bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }
