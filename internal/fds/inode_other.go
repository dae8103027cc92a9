//go:build !unix

package fds

import "os"

func inode(os.FileInfo) string { return "" }
