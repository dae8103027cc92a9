package fds

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func isPath(name string) bool { return name != "" && name[0] != '@' }

// absolute returns the absolute path of a unix socket, or "" if it has none or the present
// directory is gone.
func absolute(ask Ask) string {
	if !isUnix(ask) {
		return ""
	}
	path, err := filepath.Abs(ask.Address)
	if err != nil {
		return ""
	}
	return path
}

// fileID returns an identity of the socket file at a path, or "" if there is none. It includes the
// time, because a file system may use the inode number of a removed file again at once.
func fileID(path string) string {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return ""
	}
	return fmt.Sprintf("%s:%d%s", inode(info), info.ModTime().UnixNano(), rootID())
}

// rootID is the end of an identity: a path leads elsewhere in another root directory (chroot(2)).
func rootID() string {
	info, err := os.Stat("/")
	if err != nil {
		return ""
	}
	return "@" + inode(info)
}

// leadsTo reports whether a path leads to the file with the identity. While a socket is open, no
// other file can have the inode of its own, so the time, which touch(1) changes, does not count.
func leadsTo(path, id string) bool {
	info, err := os.Stat(path)
	return err == nil && isFile(info, id)
}

func isFile(info os.FileInfo, id string) bool { return strings.HasPrefix(id, inode(info)+":") }

// hasOtherName reports whether the file with the identity has another name in the directory of a
// path, as when a service publishes its socket by renaming it.
func hasOtherName(path, id string) bool {
	entries, _ := os.ReadDir(filepath.Dir(path))
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		if e.Type() != os.ModeSocket {
			return false
		}
		info, err := e.Info()
		return err == nil && isFile(info, id)
	})
}

// reachable returns an error unless clients can find an inherited unix socket at its path. The path
// of a given socket only has to exist: it is not known which file is that of the socket.
func (d *descriptor) reachable(path string) error {
	_, err := os.Stat(path)
	if err == nil && d.record.File != "" && !leadsTo(path, d.record.File) {
		err = fmt.Errorf("%s is another file than the one that this service bound", path)
	}
	if err != nil && hasOtherName(path, d.record.File) {
		return nil
	}
	return err
}

// takeOverPath takes over an inherited unix socket. If its path was removed or replaced, nobody can
// connect to it any more: then a new socket is bound, unless the path is another process's or has
// to be made by whoever has given the socket.
func takeOverPath(ctx context.Context, ask Ask, d *descriptor, record Record) (*Socket, error) {
	lost := d.reachable(cmp.Or(d.record.Path, ask.path, ask.Address))
	if lost != nil && !record.Given && d.record.File != "" &&
		strings.HasSuffix(d.record.File, rootID()) {
		sock, err := bind(ctx, ask, record)
		if err == nil {
			d.close()
			sock.lostPath, sock.rebound = lost, true
			return sock, nil
		}
		lost = fmt.Errorf("%w, and it cannot be bound again: %w", lost, err)
	}
	sock, err := openInherited(ask, d, record)
	if err == nil {
		sock.lostPath = lost
	}
	return sock, err
}

// removeFile removes the socket file at a path if it has the identity.
func removeFile(path, id string) {
	if id != "" && fileID(path) == id {
		_ = os.Remove(path)
	}
}
