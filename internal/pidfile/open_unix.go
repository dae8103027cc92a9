//go:build unix && !solaris && !aix

package pidfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	openHarmless  = unix.O_NOFOLLOW | unix.O_NONBLOCK
	openDirectory = unix.O_DIRECTORY | unix.O_NONBLOCK
)

// tryLock locks the file by flock(2) until it is closed, or returns an error at once.
func tryLock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
	})
	return errors.Join(controlErr, err)
}
