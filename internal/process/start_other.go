//go:build !unix

package process

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

func start(context.Context, Spec) (int, error) {
	return 0, fmt.Errorf("passing sockets to a process on %s: %w",
		runtime.GOOS, errors.ErrUnsupported)
}

func isBusy(error) bool { return false }

// Stdio returns nil: no process can be started on this platform.
func Stdio() []uintptr { return nil }

// Supported reports whether a process can be started with the sockets of this one.
const Supported = false

func signalNumber(int, syscall.Signal) error { return errors.ErrUnsupported }
