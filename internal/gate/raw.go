package gate

import "syscall"

// rawConn is the descriptor of a socket behind the gate. Its Read waits like every other read;
// Write and Control pass.
type rawConn struct {
	syscall.RawConn
	waiter *waiter
}

// newRawConn is SyscallConn of a socket.
func newRawConn(c syscall.Conn, w *waiter) (syscall.RawConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &rawConn{raw, w}, nil
}

func (c *rawConn) Read(f func(fd uintptr) (done bool)) error {
	return c.waiter.call(opRawRead, func() error { return c.RawConn.Read(f) })
}
