package gracehttp

import (
	"io"
	"syscall"
)

const canPeek = true

// peek waits for the first byte of a connection, and returns it without consuming it.
func peek(raw syscall.RawConn) (first byte, err error) {
	var b [1]byte
	var n int
	waitErr := raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return b[0], nil
}
