package fds

import (
	"fmt"
	"os"
	"path/filepath"
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
	return fmt.Sprintf("%s:%d", inode(info), info.ModTime().UnixNano())
}

// removeFile removes the socket file at a path if it has the identity.
func removeFile(path, id string) {
	if id != "" && fileID(path) == id {
		_ = os.Remove(path)
	}
}
