package handoff

import (
	"golang.org/x/sys/unix"

	"github.com/go-grace/grace/internal/fds"
)

// IsRead reports whether the other process has read everything that was sent to it. If that is
// unknown, it returns true.
func (l *Link) IsRead() bool {
	unread := 0
	err := fds.Control(l.conn, func(fd int) (err error) {
		// This counts the memory of unread messages, not their bytes.
		unread, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return err != nil || unread == 0
}
