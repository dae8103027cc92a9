package handoff

import "golang.org/x/sys/unix"

// IsRead reports whether the other process has read all that was sent to it. Where that cannot be told, it is true.
func (l *Link) IsRead() bool {
	unread := 0
	raw, err := l.conn.SyscallConn()
	if err == nil {
		// It counts the memory that messages take, and not their bytes: zero when all is read.
		_ = raw.Control(func(fd uintptr) { unread, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	return err != nil || unread == 0
}
