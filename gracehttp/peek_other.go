//go:build !linux

package gracehttp

import (
	"errors"
	"syscall"
)

// canPeek: nothing is handed over here, so nothing is kept.
const canPeek = false

func peek(syscall.RawConn) (byte, error) { return 0, errors.ErrUnsupported }
