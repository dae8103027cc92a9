//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package privilege

import "golang.org/x/sys/unix"

func secure() bool { return unix.Issetugid() }
