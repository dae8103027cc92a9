package fds

import (
	"fmt"
	"os"
)

func isPath(name string) bool { return name != "" && name[0] != '@' }

// fileID tells the file that is at a path from any that comes later: "" if there is no socket. A file system uses the number
// of a removed file again at once, so it takes the time besides.
func fileID(path string) string {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return ""
	}
	return fmt.Sprintf("%s:%d", inode(info), info.ModTime().UnixNano())
}

// removeFile removes the socket file that has the identity.
func removeFile(path, id string) {
	if id != "" && fileID(path) == id {
		_ = os.Remove(path)
	}
}
