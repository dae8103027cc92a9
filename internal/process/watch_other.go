//go:build !linux

package process

import (
	"errors"
	"os"
	"syscall"
)

// Self returns nil: this platform has no descriptors of processes.
func Self() *os.File { return nil }

func openHandle(int) *os.File { return nil }

// WatchHandle always fails on this platform, and closes the file.
func WatchHandle(f *os.File, _ int) (*Watched, error) {
	return nil, errors.Join(errors.ErrUnsupported, f.Close())
}

func signalHandle(*os.File, syscall.Signal) error { return errors.ErrUnsupported }
