//go:build unix && !linux

package fds

import "golang.org/x/sys/unix"

func socketProtocol(int) int { return 0 }

func closeRangeCloexec(int, int) error { return unix.ENOSYS }
