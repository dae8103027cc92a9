//go:build !unix

package gracehttp

import (
	"os"
	"syscall"
)

// duplicate returns nil: no connection lingers on this platform.
func duplicate(syscall.RawConn) *os.File { return nil }

func closeWrite(*os.File) {}
