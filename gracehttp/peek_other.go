//go:build !linux

package gracehttp

import (
	"errors"
	"syscall"
)

// canPeek is false: connections are not handed over here, so none is held.
const canPeek = false

func peek(syscall.RawConn) (byte, error) { return 0, errors.ErrUnsupported }
