//go:build !unix

package fds

import "errors"

// Nothing is inherited on this platform; these are never reached with a descriptor.

func inspect(int) facts { return facts{other: "a descriptor that this platform cannot inherit"} }

func isListening(int) bool { return false }

func cameByExec(int) error {
	return errors.New("this platform does not pass sockets to a child process")
}

func closeFD(int) error { return nil }

func setCloexec(int, int) {}
