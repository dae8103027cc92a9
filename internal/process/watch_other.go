//go:build !linux

package process

import (
	"errors"
	"os"
	"syscall"
)

// Self gives no descriptor: there is no such thing here.
func Self() *os.File { return nil }

func openHandle(int) *os.File { return nil }

// WatchHandle is not reached with a descriptor that [Self] has given.
func WatchHandle(f *os.File, _ int) (*Watched, error) {
	return nil, errors.Join(errors.ErrUnsupported, f.Close())
}

func signalHandle(*os.File, syscall.Signal) error { return errors.ErrUnsupported }
