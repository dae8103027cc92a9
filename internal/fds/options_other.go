//go:build !linux

package fds

import (
	"net"
	"syscall"
)

// options is empty: on this platform no connection comes from another process.
type options struct{}

func readOptions(syscall.Conn) options { return options{} }

func (options) restore(net.Conn) error { return nil }
