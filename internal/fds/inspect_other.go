//go:build !unix

package fds

import "errors"

// Nothing is inherited on this platform, so these functions are never reached with a descriptor.

func inspect(int) facts { return facts{other: "a descriptor that this platform cannot inherit"} }

// CheckInherited always returns an error: nothing is inherited on this platform.
func CheckInherited(int) error {
	return errors.New("this platform does not pass sockets to a child process")
}

func closeFD(int) error { return nil }

func setCloexec(int, int) {}
