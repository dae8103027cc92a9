//go:build unix && !solaris && !aix

package fds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockTimeout is much longer than a process needs the lock.
const lockTimeout = time.Second

// errLockHeld is the error of lockDir after lockTimeout.
var errLockHeld = fmt.Errorf("another process has held the lock for %v", lockTimeout)

// lockDir locks a directory by flock(2), which leaves no file behind. Anyone who can read the
// directory can lock it too, so it does not wait forever.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errLockHeld)
	defer cancel()
	// A FIFO in place of the directory would block a plain open.
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for {
		err := flock(f)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, context.Cause(ctx)), f.Close())
		}
	}
}

// flock tries to lock the file once, without waiting.
func flock(f *os.File) error {
	return Control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
}
